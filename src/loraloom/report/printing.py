"""`loraloom report RUN --pdf`: the page printed by a browser that is installed, without a window.

The browser gets a profile of its own in a temporary folder, so that it neither finds nor leaves anything in the
user's, and no longer than a time limit. Rejected: a PDF library, which would not know the page's CSS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from loraloom.errors import LoraloomError
from loraloom.study.durable import write_bytes

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "brave-browser",
)
SECONDS = 120


def browser() -> str:
    """The first browser of `BROWSERS` that is installed.

    Raises:
        LoraloomError: none is.
    """
    found = next((place for name in BROWSERS if (place := shutil.which(name))), None)
    if found is None:
        raise LoraloomError(
            f"--pdf: no browser is installed that prints ({', '.join(BROWSERS)}); install one, such as chromium, or "
            "print the page from another browser"
        )
    return found


def print_page(page: Path, program: str, *, seconds: float = SECONDS) -> Path:
    """Prints `page` to report.pdf beside it, and returns its path.

    Raises:
        LoraloomError: the browser did not print it, or not in time.
    """
    with tempfile.TemporaryDirectory(prefix="loraloom-pdf-", ignore_cleanup_errors=True) as folder:
        pdf = Path(folder) / "report.pdf"
        command = [
            program,
            "--headless",
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            "--no-first-run",
            "--no-pdf-header-footer",
            f"--user-data-dir={Path(folder) / 'profile'}",
            f"--print-to-pdf={pdf}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # which has no sandbox to give up; Chrome refuses else
            page.resolve().as_uri(),
        ]
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise LoraloomError(f"--pdf: {program} did not print {page} in {seconds:g} s") from None
        except OSError as error:
            raise LoraloomError(f"--pdf: {program}: {error.strerror}") from None
        content = pdf.read_bytes() if pdf.is_file() else b""
        if not content.startswith(b"%PDF-"):
            said = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
            raise LoraloomError(f"--pdf: {program} did not print {page}: {said[:300]}")
    target = page.with_name("report.pdf")
    write_bytes(target, content)
    return target
