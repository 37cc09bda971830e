"""study/results/claims.json: every encoder's claims, judged as one family, and its results on the test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loraloom.intervals import Interval, mcnemar, wilson_interval
from loraloom.study.durable import write_json
from study.claims.design import Design, read_design
from study.claims.judging import ClaimFound, corrected, judge
from study.claims.running import reported
from study.outcomes import Kept

TESTED = "-test"


@dataclass(frozen=True, slots=True)
class Result:
    """A line of the results table: mean accuracy over seeds on the rows that were compared, and one on the test rows.

    `p` is McNemar's against the contest's preset on the test rows, not corrected; None for the preset itself.
    """

    key: str
    claims: tuple[str, ...]
    trainable: int
    accuracy: float
    test: float
    test_interval: Interval
    test_correct: int
    test_rows: int
    p: float | None
    seconds: float
    disturbed: bool


@dataclass(frozen=True, slots=True)
class EncoderFound:
    """What was found with one encoder; `about` is the first line of its file, without the rows' labels.

    `unmeasured` are the titles of claims of which too little was trained to compare anything, `untested` the keys of
    trials that the results table lacks, since they have not read the test rows.
    """

    name: str
    family: str
    about: Mapping[str, Any]
    trials: int
    seconds: float
    disturbed: bool
    compared: int
    machines: tuple[str, ...]
    claims: tuple[ClaimFound, ...]
    unmeasured: tuple[str, ...]
    results: tuple[Result, ...]
    untested: tuple[str, ...]


def judge_all(folder: Path) -> tuple[EncoderFound, ...]:
    """The encoders whose trials are kept in `folder`, family after family, those with the most trials first."""
    files = [path for path in sorted(folder.glob("*.jsonl")) if not path.stem.endswith(TESTED)]
    kept = sorted((Kept(path) for path in files), key=lambda one: -len(one.all()))
    designs = [read_design(str(one.header["table"]), "demo") for one in kept]
    both = list(zip(designs, kept, strict=True))
    families = [[pair for pair in both if pair[0].table.family == family] for family in ("contest", "preset")]
    return tuple(one for family in families for one in _family(family, folder))


def _family(family: Sequence[tuple[Design, Kept]], folder: Path) -> list[EncoderFound]:
    judged = corrected([judge(design, one) for design, one in family])
    found = []
    for (design, one), claims in zip(family, judged, strict=True):
        test = folder / f"{one.path.stem}{TESTED}.jsonl"
        keys = list(reported(design, claims, one))
        results = _results(keys, design.table.all_seeds, one, Kept(test), claims) if test.exists() else ()
        tested = {line.key for line in results}
        found.append(
            EncoderFound(
                name=str(one.header["encoder"]),
                family=design.table.family,
                about={name: value for name, value in one.header.items() if name != "labels"},
                trials=len(one.all()),
                seconds=sum(map(one.undisturbed, one.all())),
                disturbed=any(each.is_disturbed for each in one.all()),
                compared=len(one.labels),
                machines=one.machines,
                claims=claims,
                unmeasured=_unmeasured(design, claims),
                results=results,
                untested=tuple(key for key in keys if key not in tested),
            )
        )
    return found


def _unmeasured(design: Design, claims: Sequence[ClaimFound]) -> tuple[str, ...]:
    measured = {claim.name for claim in claims}
    return tuple(claim.title for claim in design.table.claims if claim.name not in measured)


def write(found: Sequence[EncoderFound], path: Path) -> None:
    """Writes what was found as JSON."""
    write_json(path, {"encoders": [asdict(one) for one in found]})


def _results(
    keys: Sequence[str], seeds: Sequence[int], kept: Kept, tested: Kept, claims: Sequence[ClaimFound]
) -> tuple[Result, ...]:
    seed, rows = seeds[0], len(tested.labels)
    preset = tested.get("contest", seed)
    lines = []
    for key in keys:
        one, trained = tested.get(key, seed), [kept.get(key, each) for each in seeds]
        first = kept.get(key, seed)
        if one is None or one.accuracy is None or first is None:
            continue
        right = one.right(rows)
        p = None if preset is None or key == "contest" else mcnemar(right, preset.right(rows))
        complete = [each for each in trained if each is not None and each.accuracy is not None]
        lines.append(
            Result(
                key=key,
                claims=tuple(claim.title for claim in claims if claim.best.key == key),
                trainable=first.trainable,
                accuracy=float(np.mean([each.accuracy for each in complete])),
                test=one.accuracy,
                test_interval=wilson_interval(int(right.sum()), rows),
                test_correct=int(right.sum()),
                test_rows=rows,
                p=p,
                seconds=kept.seconds(complete),
                disturbed=any(each.is_disturbed for each in complete),
            )
        )
    return tuple(lines)
