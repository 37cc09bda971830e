"""loraloom's commands as children of a zygote: started in milliseconds, killed at will, their words kept."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loraloom.data import default_cache

REPOSITORY = Path(__file__).parents[1]
PATIENCE_SECONDS = 300
"""No command of a tiny search takes so long: one that does hangs, and is a failure."""
SAYING_SECONDS = 1
"""That one which hangs has to say where."""
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a command: its exit code (negative: the signal that killed it), and what it said."""

    code: int
    out: str
    err: str

    @property
    def traceback(self) -> bool:
        return "Traceback" in self.err

    @property
    def sentence(self) -> str:
        """The last line on standard error that is loraloom's own."""
        lines = [line for line in self.err.splitlines() if line.startswith("loraloom: ")]
        return lines[-1] if lines else ""


class Child:
    """A command under way; as a context it is killed at the end, if it hasn't been waited for."""

    def __init__(self, commands: Commands, pid: int, words: tuple[Path, Path]) -> None:
        self._commands, self.pid, self._words = commands, pid, words
        self._waited_for = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._waited_for:
            self.send(signal.SIGKILL)
            self.wait()

    def send(self, number: int) -> None:
        """Sends a signal; nothing where the command has ended already (it is waited for later, so its id stands)."""
        os.kill(self.pid, number)

    def wait_until_halted(self) -> None:
        """Waits until it has stopped itself by SIGSTOP; SIGCONT has it go on, and hear what came meanwhile."""
        wait_for(lambda: self._state() == "T")

    def run_for(self, seconds: float) -> None:
        """Lets it run for so long, or to its end where that is sooner."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._state() != "Z":
            time.sleep(min(left, POLL_SECONDS))

    def _state(self) -> str:
        """Its letter in `man proc_pid_stat`; one that has ended is a zombie (Z) until it is waited for."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def line(self, seconds: float = 120) -> str:
        """The first line on its standard output, once it is there.

        Raises:
            TimeoutError: there is none in time.
        """
        end = time.monotonic() + seconds
        while "\n" not in (said := self._words[0].read_text(encoding="utf-8")):
            if time.monotonic() > end:
                raise TimeoutError(f"a command has said nothing in {seconds} s: {self._words[1].read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)
        return said.partition("\n")[0]

    def wait(self, seconds: float = PATIENCE_SECONDS) -> Ended:
        """Waits for its end.

        Raises:
            TimeoutError: it has not ended in time; it is killed.
        """
        self._waited_for = True
        code = self._commands.ask({"wait": self.pid, "seconds": seconds})["code"]
        if code is None:
            self.send(signal.SIGUSR2)  # it says where each of its threads is, if it still can
            self.run_for(SAYING_SECONDS)
            self.send(signal.SIGKILL)
            self._commands.ask({"wait": self.pid, "seconds": seconds})
            raise TimeoutError(f"a command has not ended after {seconds} s: {self._words[1].read_text()[-6000:]}")
        return Ended(code, *(path.read_text(encoding="utf-8", errors="replace") for path in self._words))


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    """Waits until something holds, as that a command has come so far; fails where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(POLL_SECONDS)


class Commands:
    """A zygote of one's own; `preload` is a library for LD_PRELOAD."""

    def __init__(self, scratch: Path, preload: Path | None = None) -> None:
        self.scratch, self._numbers = scratch, itertools.count()
        cache, kernels = scratch / "cache", default_cache() / "kernels"
        for folder in (cache, kernels):
            folder.mkdir(parents=True, exist_ok=True)
        (cache / "kernels").symlink_to(kernels)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "LORALOOM_CACHE": str(cache),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)]),
        }
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
        self._words = (scratch / "zygote.err").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            cwd=REPOSITORY,
            env=environment,
        )
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the zygote."""
        self._process.communicate()
        self._words.close()

    def start(
        self,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        folder: Path | None = None,
        shim: Mapping[str, Any] | None = None,
        code: str | None = None,
    ) -> Child:
        """Starts `loraloom ARGUMENTS`, or with `code` what `python -c CODE ARGUMENTS` does.

        In the child, `befall()` of each module in `before` is called first, and the shim is told its settings.
        """
        number = next(self._numbers)
        words = self.scratch / f"{number}.out", self.scratch / f"{number}.err"
        for path in words:
            path.touch()  # a child may be killed before it has any
        request = {
            "arguments": [str(argument) for argument in arguments],
            "code": code,
            "environment": dict(environment or {}),
            "before": list(before),
            "shim": shim,
            "folder": str(folder or self.scratch),
            "out": str(words[0]),
            "err": str(words[1]),
        }
        return Child(self, self.ask(request)["child"], words)

    def run(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Ended:
        """Runs `loraloom ARGUMENTS` to its end."""
        return self.start(*arguments, environment=environment).wait()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the zygote ended: {(self.scratch / 'zygote.err').read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer
