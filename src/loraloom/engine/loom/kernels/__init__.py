"""The compiled CPU kernels, in two libraries of C++, each for processors of its own.

In bf16 products with their epilogues, norms and attention, as torch.ops.loraloom (`*.cpp`), by instructions that not
every processor has; in fp32 what stands between products, as torch.ops.loraloom_fp32 (`fp32/*.cpp`), on any.

`load()` and `load_fp32()` compile the sources on first use (ten to twenty seconds, once for their version, torch's,
a compiler, a C library and a processor) and keep the library in the cache folder. No OpenMP runtime is linked:
libtorch_cpu's own is the only one in the process. Rejected: torch.utils.cpp_extension.load, which needs ninja and
torch/extension.h and takes longer than the compiler alone; wheels per platform, for what a compiler on the spot does
better (-march=native).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from loraloom.data.encoding import default_cache
from loraloom.errors import LoraloomError
from loraloom.study.durable import sha256, sync_folder

_FOLDER = Path(__file__).parent
_FLAGS = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fPIC", "-w")
_NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16")
_BUILDING = ".building-"
_NO_COMPILER = "No C++ compiler was found: neither $CXX nor c++ nor g++."
_UNUSABLE = "The compiled kernels can't be used:"
_LONGEST_SECONDS = 3_600
"""Of a compilation; a minute is more than most take."""


@functools.cache
def load() -> str | None:
    """Makes torch.ops.loraloom usable, compiling it where needed; None, or the reason why it can't be.

    LORALOOM_KERNELS=off declines; LORALOOM_KERNELS=avx512 does without AMX where there is some.

    Raises:
        LoraloomError: it is something else.
    """
    wish = _wish()
    if wish != "off" and (missing := [flag for flag in _NEEDED if flag not in _processor().split()]):
        return f"This processor has no {missing[0]}."
    flags = ("-DLORALOOM_AVX512",) if wish == "avx512" else ()
    if reason := _load(wish, _sources(_FOLDER), flags):
        return reason
    if not torch.ops.loraloom.usable():
        return "The system does not let this process use the processor's matrix unit (AMX)."
    return None


@functools.cache
def load_fp32() -> str | None:
    """As `load`, for torch.ops.loraloom_fp32."""
    return _load(
        _wish(), [*_sources(_FOLDER / "fp32"), *(_FOLDER / name for name in ("dropout.h", "texts.h", "threads.h"))]
    )


def to_mend(why_plain: str | None) -> str | None:
    """What is to be said where the machine's set-up can be mended, as where no compiler is installed; None elsewhere.

    `why_plain` is why the kernels don't compute; None where they do.
    """
    if why_plain is None:
        return passed_over()
    mendable = why_plain.startswith((_NO_COMPILER, _UNUSABLE))
    return f"loom computes in plain torch, which is slower: {why_plain}" if mendable else None


def passed_over() -> str | None:
    """That CXX names no compiler, where another one compiles in its place; None where it does, or is not set."""
    named, taken = os.environ.get("CXX"), _compiler()
    if not named or taken is None or shutil.which(named):
        return None
    return f"CXX={named} is no compiler by its name or path: {taken} compiles the kernels in its place"


def _wish() -> str:
    wish = os.environ.get("LORALOOM_KERNELS", "").strip().lower()
    if wish not in ("", "off", "avx512"):
        raise LoraloomError(f"LORALOOM_KERNELS: {wish!r} is neither off nor avx512")
    return wish


def _load(wish: str, sources: list[Path], flags: tuple[str, ...] = ()) -> str | None:
    """Compiles a library where it is not in the cache, and loads it; None, or why it can't be."""
    if wish == "off":
        return "LORALOOM_KERNELS=off declines them."
    compiler = _compiler()
    if compiler is None:
        return _NO_COMPILER
    try:
        library = _built(compiler, (*_FLAGS, *flags), sources, _processor())
        torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except (OSError, subprocess.SubprocessError) as error:
        return f"{_UNUSABLE} {_compilers_words(error)}"
    return None


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {".cpp", ".h"})


def _built(compiler: str, flags: tuple[str, ...], sources: list[Path], processor: str) -> Path:
    """The library for this processor and these sources, compiled if it is not in the cache."""
    key = hashlib.sha256()
    texts = (f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in sources)
    # A home may be shared by systems that call unlike compilers by one name, and of which one can't load the other's.
    system = compiler, os.path.realpath(compiler), *platform.libc_ver()
    for part in (*system, *flags, torch.__version__, processor, *texts):
        key.update(os.fsencode(part) + b"\0")
    folder = default_cache() / "kernels" / key.hexdigest()
    if (kept := _kept(folder)) is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder):
        compiled = [path for path in sources if path.suffix == ".cpp"]
        return _kept(folder) or _build(compiler, flags, compiled, folder)  # another process may have done it meanwhile


def _kept(folder: Path) -> Path | None:
    """The library in a folder of the cache, called by its SHA-256; None where there is none, or a damaged one.

    What is damaged need not fail to load: it may compute something else.
    """
    return next((path for path in folder.glob("*.so") if path.stem == sha256(path)), None)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """No one else's within the block, as far as the file system has locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _build(compiler: str, flags: tuple[str, ...], sources: list[Path], folder: Path) -> Path:
    """Without locks each process builds in a folder of its own, and the last rename stands: all wrote the same."""
    for left in folder.glob(f"{_BUILDING}*"):  # by a kill
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LONGEST_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_BUILDING) as work:
        built = _compile(compiler, flags, sources, Path(work))
        with built.open("rb") as file:
            os.fsync(file.fileno())
        library = built.replace(folder / f"{sha256(built)}.so")
    sync_folder(folder)
    return library


def _compile(compiler: str, flags: tuple[str, ...], sources: list[Path], work: Path) -> Path:
    """Compiles the sources as one and links them against libtorch_cpu, without an OpenMP runtime.

    One translation unit reads torch's headers once: 6 s of processor time in place of 14. Raises CalledProcessError,
    with the compiler's own words in `stderr`.
    """
    torch_folder = Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    whole, binary, library = work / "kernels.cpp", work / "kernels.o", work / "kernels.so"
    whole.write_bytes(os.fsencode("".join(f'#include "{source}"\n' for source in sources)))
    compiling = [compiler, *flags, abi, f"-I{torch_folder / 'include'}", "-c", str(whole), "-o", str(binary)]
    linking = [compiler, "-shared", str(binary), "-o", str(library), f"-L{torch_folder / 'lib'}"]
    for command in (compiling, [*linking, "-ltorch_cpu", "-lc10"]):
        # In a session of its own: a Ctrl-C that a search answers by saving what it has is not the compiler's end.
        subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, text=True, errors="replace", start_new_session=True
        )
    return library


def _compiler() -> str | None:
    for name in (os.environ.get("CXX"), "c++", "g++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def _processor(told: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor can do, as Linux tells it (on ARM: features, and numbers of who made which part).

    Elsewhere its bare name, which promises nothing.
    """
    try:
        lines = told.read_text("ascii", "ignore").splitlines()
    except OSError:
        return platform.processor()
    telling = ("flags", "model name", "Features", "CPU implementer", "CPU architecture", "CPU variant", "CPU part")
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(telling))
    return " ".join(dict.fromkeys(found))


def _compilers_words(error: Exception) -> str:
    """The first thing that went wrong, in the compiler's words where it spoke."""
    said = getattr(error, "stderr", None) or str(error)
    if isinstance(error, subprocess.CalledProcessError) and not error.stderr:
        said = f"{error.cmd[0]} failed with exit status {error.returncode}."
    lines = [line for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line]
    return (telling or lines or [type(error).__name__])[0]
