"""Installs what `make package` built in fresh environments, and uses it there as people do.

    python scripts/try_package.py                       the wheel, bare, and with each extra alone
    python scripts/try_package.py --only bare demo      some of these
    python scripts/try_package.py --sdist --only bare   the sdist
    python scripts/try_package.py --python python3.13   another interpreter

Each environment takes a minute or several, and is removed at the end: pip's cache makes the second quicker than the
first. In each the commands that need no extra are used, a tiny search is run where there is a model to run it on, and
every extra that is not there is asked for: that must be one sentence that says what to install, and exit code 2. The
extra that is there is used, where that takes no cluster, account or browser.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import zstandard
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.conftest import make_rows, write_csv, write_model  # noqa: E402
from tests.test_extras import ASKING, EXTRAS, PROJECT, USING, brought_by  # noqa: E402

ALWAYS: dict[tuple[str, ...], str] = {
    ("--version",): "loraloom {version}",
    ("--help",): "dashboard",
    ("recipes",): "agnews-roberta-base",
    ("schema",): "lora_alpha",
    ("budget", "agnews-roberta-base"): "759,556",
    ("doctor",): "GFLOP/s",
    ("search", "tiny.yaml", "--out", "run", "--quiet"): "winner",
    ("predict", "run/best", "--text", "the cat"): "prediction",
    ("report", "run"): "index.html",
}
"""What works without any extra, and a word that it prints."""


def main() -> None:
    options = _options()
    pattern = "*.tar.gz" if options.sdist else "*.whl"
    built = sorted((ROOT / "dist").glob(pattern))
    if not built:
        sys.exit(f"dist/{pattern}: there is none; run scripts/package first")
    signal.signal(signal.SIGTERM, _terminate)
    with tempfile.TemporaryDirectory(prefix="try-package-") as name:
        place = Path(name)
        os.environ["TMPDIR"] = name  # what pip leaves where it is killed is removed too
        _write_inputs(place)
        for extra in options.only or ["bare", *EXTRAS]:
            _try(options.python, built[-1], extra, place)
    print(f"{built[-1].name} works in each of these")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to make environments of")
    parser.add_argument("--sdist", action="store_true", help="install the sdist, which builds a wheel")
    parser.add_argument("--only", nargs="+", choices=["bare", *EXTRAS], help="only these environments")
    return parser.parse_args()


def _terminate(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    sys.exit(128 + number)


def _write_inputs(place: Path) -> None:
    """A tiny model, rows that it learns, and what the commands of `ASKING` name."""
    write_model(place / "model")
    write_csv(place / "rows.csv", make_rows(150, seed=1))
    tiny = "data: {train_file: rows.csv, validation_share: 0.2, max_length: 16}\nbackbone: {model: ./model}\n"
    (place / "tiny.yaml").write_text(tiny + "lora: {r: 2}\ntrain: {learning_rate: 0.02, bf16: false}\n")
    (place / "rows.yaml").write_text("data: {train_file: rows.csv.zst}\nbackbone: {model: ./model}\n")
    (place / "rows.csv.zst").write_bytes(zstandard.compress((place / "rows.csv").read_bytes()))
    (place / "a_run").mkdir()
    (place / "a_run" / "recipe.yaml").write_text("data: {train_file: rows.csv}\n")


def _try(python: str, built: Path, extra: str, place: Path) -> None:
    print(f"== {extra}", flush=True)
    environment = place / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    binaries = environment / "bin"
    wanted = str(built) if extra == "bare" else f"{built}[{extra}]"
    subprocess.run([binaries / "pip", "install", "--quiet", wanted], check=True)
    subprocess.run([binaries / "pip", "check"], check=True)
    for command, word in ALWAYS.items():
        _expect(binaries, place, command, 0, word.format(version=PROJECT["version"]))
    if extra in USING:
        command, word, file = USING[extra]
        _expect(binaries, place, command, 0, word)
        if not any(place.glob(file)):
            sys.exit(f"loraloom {' '.join(command)} left no {file}")
    if extra == "serve":
        _serve(binaries, place)
    listing = [str(binaries / "pip"), "list", "--format=json"]
    listed = json.loads(subprocess.run(listing, capture_output=True, text=True, check=True).stdout)
    installed = {canonicalize_name(package["name"]) for package in listed}
    for other, command in ASKING.items():
        if other in EXTRAS and not brought_by(other) <= installed:  # one extra may bring another's packages
            _expect(binaries, place, command, 2, f"pip install 'loraloom[{other}]'")
    for folder in ("run", "used"):
        shutil.rmtree(place / folder, ignore_errors=True)
    shutil.rmtree(environment)


def _serve(binaries: Path, place: Path) -> None:
    """Starts a server, asks whether it is ready, and ends it by SIGTERM."""
    command = [str(binaries / "loraloom"), "serve", "run/best", "--port", "0"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            address = said.partition(" at ")[2].partition(";")[0]
            if not address:
                sys.exit("loraloom serve said no address")
            with urlopen(f"{address}readyz", timeout=60) as answer:  # noqa: S310
                print(f"ok  loraloom serve: {answer.read().decode()}", flush=True)
        finally:
            server.terminate()
    if server.returncode != 0:
        sys.exit(f"loraloom serve ended with exit code {server.returncode} at SIGTERM")


def _expect(binaries: Path, place: Path, command: Sequence[str], code: int, word: str) -> None:
    done = subprocess.run([binaries / "loraloom", *command], cwd=place, capture_output=True, text=True, check=False)
    said = done.stdout if code == 0 else done.stderr
    print(f"{'ok ' if done.returncode == code and word in said else 'NOT'} loraloom {' '.join(command)}", flush=True)
    if done.returncode != code or word not in said or "Traceback" in done.stderr:
        sys.exit(f"exit code {done.returncode}, where {code} and {word!r} were expected:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
