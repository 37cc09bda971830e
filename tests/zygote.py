"""A process that has imported everything, and forks one child for each command that it is told to run.

python -m tests.zygote, then a line of JSON for each request on standard input, answered by a line on standard
output. Importing torch, transformers and the rest costs eight seconds of a core, a fork ten milliseconds: thousands of
kills become feasible, and tests of commands cheap. The children run `loraloom.cli.run` itself, or code as `python -c`
would. Rejected: multiprocessing's forkserver, whose children import the main module again, and whose server can't be
started with an environment of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import functools
import gc
import json
import os
import signal
import sys
import time
import traceback
import weakref
from importlib import import_module
from pathlib import Path
from typing import Any, cast

POLL_SECONDS = 0.002


_HEAVY = (
    "torch",
    "transformers.models.bert.modeling_bert",
    "alembic.command",
    "optuna.storages._rdb.models",
    "sqlalchemy.dialects.postgresql",
    "pygments.lexers.python",
    "rich.table",
    "sklearn.linear_model",
    "sklearn.metrics",
    "statsmodels.genmod.generalized_linear_model",
    "statsmodels.stats.multitest",
    "loraloom.cli",
    "loraloom.engine.loom.inference",
    "loraloom.engine.trainer",
    "loraloom.pipeline",
    "loraloom.terminal.live",
    "loraloom.use.predict",
)


def _import_all() -> None:
    """Imports, the report's templates, how weights' names of old checkpoints are read, and how fast this machine is.

    And what a process finds once: which revision of the code this is, what a ledger begins with, Optuna's version of
    its tables, and the command line as typer makes it of functions.

    What else a child computes it computes itself.
    """
    gc.disable()  # nothing of it is garbage
    for name in _HEAVY:
        import_module(name)
    import typer.main
    from optuna.storages._rdb.storage import _VersionManager
    from torch import cuda
    from transformers import conversion_mapping

    from loraloom.cli import app
    from loraloom.engine import gemm_rates
    from loraloom.engine.loom import kernels
    from loraloom.report.page import _environment
    from loraloom.study.ledger import _without_trials
    from loraloom.study.provenance import describe_machine

    describe_machine()
    _without_trials()
    commands: Any = typer.main
    commands.get_command = functools.cache(typer.main.get_command)
    commands.get_command(app)
    versions: Any = _VersionManager
    nowhere = object.__new__(versions)
    nowhere.url = "sqlite://"
    head = nowhere.get_head_version()
    versions.get_head_version = lambda _: head
    environment = _environment()
    for name in environment.list_templates(["jinja"]):
        environment.get_template(name)
    mapping: Any = conversion_mapping
    mapping.get_checkpoint_conversion_mapping("bert")  # a thousand regular expressions
    if not cuda.device_count():  # a GPU that the parent has used is none for its children
        gemm_rates.measure()
        kernels.load_fp32()
    _leave_ops_defined()
    sys.modules["matplotlib"] = cast(Any, None)  # as where the extra 'report' is missing: pictures take half of a run
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared
    gc.enable()


def _leave_ops_defined() -> None:
    """At a process's end torch takes each op that Python code has defined back, which took a child 40 ms."""
    from torch import library

    registered: Any = weakref.finalize._registry  # type: ignore[attr-defined]
    for finalizer, info in list(registered.items()):
        if info.func is library._del_library:
            finalizer.atexit = False


def _start(request: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        _become(request)
        code = _run(request)
    except BaseException:
        traceback.print_exc()
        code = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `loraloom` itself does, to its end
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def _become(request: dict[str, Any]) -> None:
    """The child's own signals, environment, folder and streams."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for number, path in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(handle, number)
        os.close(handle)
    faulthandler.register(signal.SIGUSR2, 2)  # it says where each of its threads is
    for name in request["before"]:
        import_module(name).befall()
    if shim := request["shim"]:
        ctypes.CDLL(None).faults_arm(*(x.encode() if isinstance(x, str) else x for x in shim["settings"]))


def _run(request: dict[str, Any]) -> int:
    from loraloom import cli

    sys.argv = ["loraloom" if request["code"] is None else "-c", *request["arguments"]]
    try:
        code = cli.run() if request["code"] is None else _execute(request["code"])
    except BaseException:
        traceback.print_exc()
        code = 1
    if shim := request["shim"]:
        library = ctypes.CDLL(None)
        library.faults_calls.restype = ctypes.c_char_p
        count, calls = library.faults_count(), library.faults_calls()
        library.faults_arm(b"", b"", 0, 0, 0, b"", b"")
        Path(shim["report"]).write_text(f"{count}\n{calls.decode()}", encoding="utf-8")
    return code


def _execute(code: str) -> int:
    """Runs code as `python -c` does."""
    try:
        exec(code, {"__name__": "__main__"})  # noqa: S102
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    return 0


def _wait(child: int, seconds: float) -> int | None:
    """The child's exit code, negative for a signal; None where it has not ended in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_SECONDS)
    return None


def main() -> None:
    """Answers requests until standard input ends; whatever the library prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_all()
    print(json.dumps({"ready": os.getpid()}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: dict[str, Any] = {"code": _wait(request["wait"], request["seconds"])}
        else:
            answer = {"child": _start(request)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
