"""Peers' own environments, made on demand: what will not install is named with the reason, as pip gave it.

    python -m study.peers.environments              all that are missing
    python -m study.peers.environments setfit       one, made anew

They lie in $LORALOOM_PEERS, by default ~/.cache/loraloom/peers, a folder for each, and take up to several gigabytes.
What came of it is written to study/results/first/environments.json. Peers stay apart from loraloom's environment and
from each other, since their requirements disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loraloom.errors import DataError, LoraloomError
from loraloom.study.durable import write_json
from study.peers import PEERS, Peer

FOLDER = "LORALOOM_PEERS"
RECORD = Path(__file__).parent.parent / "results" / "first" / "environments.json"
_READY = "ready.json"
_REASON_LENGTH = 300
_SECONDS = 3600


def folder_of(peer: Peer) -> Path:
    base = Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "loraloom" / "peers")
    return base.absolute() / peer.name


def python_of(peer: Peer) -> str:
    """The interpreter that runs the peer.

    Raises:
        DataError: its environment is not there, or was made for other packages.
    """
    if not peer.packages:
        return sys.executable
    folder = folder_of(peer)
    try:
        ready = json.loads((folder / _READY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        ready = {}
    if ready.get("packages") != list(peer.packages):
        raise DataError(f"{peer.name}: is not installed; python -m study.peers.environments {peer.name} installs it")
    return str(folder / "bin" / "python")


def make(peer: Peer) -> dict[str, Any]:
    """Makes the environment anew, and says what came of it; no error is raised where packages will not install."""
    folder = folder_of(peer)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "packages": list(peer.packages),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    python = str(folder / "bin" / "python")
    steps = ([sys.executable, "-m", "venv", str(folder)], [python, "-m", "pip", "install", *peer.packages])
    for command in steps:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return found | {"installed": False, "reason": f"not installed within {_SECONDS} s"}
        if done.returncode != 0:
            return found | {"installed": False, "reason": _reason(done.stderr, folder)}
    write_json(folder / _READY, {"packages": list(peer.packages)})
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    versions = {package["name"].lower(): package["version"] for package in json.loads(listed.stdout)}
    return found | {"installed": True, "versions": versions}


def _reason(said: str, folder: Path) -> str:
    """pip's own word for what is wrong: the last line that is an error, without the names of this machine's folders."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    chosen = (errors or lines or ["no reason was given"])[-1]
    return chosen.replace(str(folder), "…").replace(str(Path.home()), "~")[:_REASON_LENGTH]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m study.peers.environments", description=(__doc__ or "").split("\n")[0]
    )
    able = [peer.name for peer in PEERS.values() if peer.packages]
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"to make anew, some of {', '.join(able)}")
    given = parser.parse_args()
    if unknown := [name for name in given.peers if name not in able]:
        parser.error(f"{unknown[0]}: has no environment of its own; those that have one are {', '.join(able)}")
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    for name in given.peers or able:
        peer = PEERS[name]
        if not given.peers and _is_ready(peer):
            continue
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        record[name] = make(peer)
        write_json(RECORD, dict(sorted(record.items())))
        print(f"{name}: {'installed' if record[name]['installed'] else record[name]['reason']}", flush=True)


def _is_ready(peer: Peer) -> bool:
    try:
        python_of(peer)
    except LoraloomError:
        return False
    return True


if __name__ == "__main__":
    main()
