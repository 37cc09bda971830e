"""Compiled kernels are kept, and made once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from loraloom.engine.loom import kernels
from loraloom.errors import LoraloomError


def test_of_those_that_need_kernels_at_the_same_moment_one_compiles_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock holds between open files, so that threads stand for processes here."""
    compiled, together = list[Path](), Barrier(3)

    def compile_slowly(compiler: str, flags: tuple[str, ...], sources: list[Path], work: Path) -> Path:
        del compiler, flags, sources
        compiled.append(work)
        time.sleep(0.1)
        library = work / "kernels.so"
        library.write_bytes(b"a library")
        return library

    def built() -> Path:
        together.wait()
        return kernels._built("c++", (), [], "a processor")

    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "_compile", compile_slowly)
    with ThreadPoolExecutor(3) as pool:
        (library,) = {future.result() for future in [pool.submit(built) for _ in range(3)]}
    assert len(compiled) == 1
    assert library.read_bytes() == b"a library"
    assert list(library.parent.iterdir()) == [library]


def test_a_compiler_that_fails_in_words_of_another_encoding_is_a_reason_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (compiler := tmp_path / "c++").write_bytes(b"#!/bin/sh\necho 'error: \xfcberladen' >&2\nexit 1\n")
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path))
    monkeypatch.delenv("LORALOOM_KERNELS", raising=False)
    assert (
        kernels.load_fp32.__wrapped__()
        == "The compiled kernels can't be used: error: \N{REPLACEMENT CHARACTER}berladen"
    )


def test_a_wish_that_is_none_of_the_kernels_is_refused_and_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOM_KERNELS", "avx2")
    for load in (kernels.load, kernels.load_fp32):
        with pytest.raises(LoraloomError, match=r"^LORALOOM_KERNELS: .avx2. is neither off nor avx512$"):
            load.__wrapped__()


def compile_at_once(compiler: str, flags: tuple[str, ...], sources: list[Path], work: Path) -> Path:
    del compiler, flags, sources
    (library := work / "kernels.so").write_bytes(b"a library")
    return library


@pytest.mark.parametrize("damaged", [b"", b"a libr", b"a Library"])
def test_a_library_that_was_damaged_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes
) -> None:
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "_compile", compile_at_once)
    library = kernels._built("c++", (), [], "a processor")
    library.write_bytes(damaged)
    assert kernels._built("c++", (), [], "a processor").read_bytes() == b"a library"
    monkeypatch.delattr(kernels, "_compile")
    assert kernels._built("c++", (), [], "a processor") == library


def test_systems_that_share_a_home_have_a_library_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a machine and its containers, whose compilers have one name, and whose C libraries may be older."""
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "_compile", compile_at_once)
    named, found = tmp_path / "c++", []
    for own, version in (("g++-12", "2.36"), ("g++-14", "2.36"), ("g++-14", "2.41"), ("g++-14", "2.41")):
        named.unlink(missing_ok=True)
        named.symlink_to(tmp_path / own)
        monkeypatch.setattr("platform.libc_ver", lambda version=version: ("glibc", version))
        found.append(kernels._built(str(named), (), [], "a processor"))
    assert len(set(found)) == 3
    assert found[2] == found[3]


@pytest.mark.parametrize(
    ("named", "said"),
    [("", None), ("g++", None), ("{}/g++", None), ("clang-99", "CXX=clang-99 is"), ("ccache g++", "CXX=ccache g++ is")],
)
def test_a_compiler_that_is_named_and_not_found_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, said: str | None
) -> None:
    (compiler := tmp_path / "g++").touch(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", named.format(tmp_path))
    told = said and f"{said} no compiler by its name or path: {compiler} compiles the kernels in its place"
    assert kernels.to_mend(None) == told
    compiler.unlink()
    assert kernels.to_mend(None) is None  # that there is none is said in the place of it
    assert kernels.to_mend("This processor has no avx512f.") is None
