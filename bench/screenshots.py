"""Pictures for the documentation: `make screenshots`.

    python -m bench.screenshots [RUN]        the report's page, every section in both modes
    python -m bench.screenshots --terminal   a search's screen, docs/terminal.svg: runs the recipe demo, minutes

The section Two runs is there where `--against` names another run on the same test rows, as of
`loraloom search demo --set lora.r=1 --out runs/demo-rank-1`.

Those of the page are by chromium at 1,280 pixels, and the whole as a phone has it, each with
the page's own colours and the commonest of the others, 256 in all, so that all of them together stay small. Needs the
extra `dev`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from bench.chromium import executable, need_browser
from bench.measure import ROOT
from loraloom import pipeline
from loraloom.recipe import read_recipe
from loraloom.report.writing import write_report
from loraloom.study.run import Run
from loraloom.terminal.console import make_console
from loraloom.terminal.live import Terminal, closing_lines

OUT = ROOT / "docs" / "report"
SCREEN = ROOT / "docs" / "terminal.svg"
COLUMNS = 127
STYLE = ROOT / "src" / "loraloom" / "report" / "templates" / "page.css"
COLOURS = 256
OURS = sorted({bytes.fromhex(colour) for colour in re.findall(r"#([0-9a-f]{6})", STYLE.read_text(encoding="utf-8"))})
TALLEST = 7000
"""Pixels that are kept of a section."""
MODES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.screenshots", description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"), help="a run (runs/demo)")
    parser.add_argument("--against", type=Path, help="another run on the same test rows, for the section Two runs")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures (docs/report)")
    parser.add_argument("--terminal", action="store_true", help="only the screen of a search, docs/terminal.svg")
    given = parser.parse_args()
    if given.terminal:
        SCREEN.write_text(screen(), encoding="utf-8")
        print(SCREEN)
        return
    need_browser(parser)
    page = write_report(given.run, against=given.against)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".taken-", dir=given.out) as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable())
        for mode in MODES:
            take(browser, page, Path(folder), mode)
        browser.close()
        for old in given.out.glob("*.png"):
            old.unlink()
        for new in Path(folder).glob("*.png"):
            new.rename(given.out / new.name)
    print(f"{given.out}: {sum(path.stat().st_size for path in given.out.glob('*.png')) / 1e6:.2f} MB")


def screen() -> str:
    """What a terminal shows when the demo's search has ended, as SVG that fetches no font."""
    console = make_console(record=True, file=io.StringIO(), width=COLUMNS, color_system="truecolor")
    watcher, run = _Ended(console, quiet=False), Path("runs/demo")
    console.print("$ loraloom search demo --out runs/demo", highlight=False)
    with tempfile.TemporaryDirectory(prefix="loraloom-screen-") as folder, contextlib.chdir(folder):
        winner = pipeline.search(read_recipe("demo"), run, watcher=watcher)
        recipe, records = Run(run).recipe, Run(run).records()
    console.print(watcher)
    for line in closing_lines(winner, run, recipe, records):
        console.print(line, highlight=False)
    return re.sub(r"@font-face \{[^}]*\}\s*", "", console.export_svg(title="loraloom"))


class _Ended(Terminal):
    """The lines that stay on a terminal; trials are those of the live view's last frame."""

    def _say(self, line: str) -> None:
        if not line.startswith("trial "):
            super()._say(line)


def take(browser: Browser, path: Path, out: Path, mode: Literal["light", "dark"]) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme=mode, reduced_motion="reduce")
    page.goto(path.absolute().as_uri())
    save(page.screenshot(), out / f"top-{mode}.png")
    page.locator("button.open").first.click()
    for at, section in enumerate(page.locator("main > section").all(), start=1):
        save(section.screenshot(), out / f"{at}-{section.get_attribute('id')}-{mode}.png")
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("scrollTo(0, 0)")
    save(page.screenshot(), out / f"phone-{mode}.png")
    page.close()


def save(png: bytes, path: Path) -> None:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, TALLEST)))
    rest = picture.quantize(COLOURS - len(OURS), dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*b"".join(OURS), *rest])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
