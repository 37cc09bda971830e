"""What is kept of a machine beside a result: as a run's provenance has it, with its instructions.

Processors of one name may differ in them ("Intel(R) Xeon(R) Processor" with AMX and without), and with them in speed.
Results that were made before they were kept are of instructions that are not known, and are mixed with any; those of
before a name without a number came with family and model ("AMD EPYC") may be of more than one processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from loraloom.errors import DataError
from loraloom.machine import read_machine
from loraloom.study.provenance import describe_machine


def described() -> dict[str, Any]:
    """`describe_machine`, whose `machine` says its `instructions` too."""
    found = describe_machine()
    return found | {"machine": found["machine"] | {"instructions": list(read_machine().instructions)}}


def refuse_mixed(machines: Iterable[Mapping[str, Any]], where: str) -> None:
    """Machines of one name that stand together must have the same instructions; each as `machine` in what is kept.

    Raises:
        DataError: two that are known differ.
    """
    known = {tuple(each["instructions"]): each["processor"] for each in machines if "instructions" in each}
    if len(known) > 1:
        names = " and ".join(", ".join(each) or "none" for each in sorted(known))
        name = next(iter(known.values()))
        raise DataError(
            f"{where}: is of {name} with different instructions ({names}); keep them in folders of their own"
        )
