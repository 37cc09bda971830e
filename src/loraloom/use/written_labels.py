"""How an adapter's classes are written for somebody else: by name, by the codes of its data, or as they are told.

AG News counts its classes from 0 on the hub and from 1 in its authors' files. What is written is never moved from one
to the other: either what is asked for fits one reading alone, or the user is asked.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from loraloom.data.labels import counted_otherwise, is_whole
from loraloom.data.wording import labels_listed, listed, listed_to_answer
from loraloom.errors import DataError
from loraloom.use.submission import Submission


@dataclass(frozen=True, slots=True)
class Written:
    """The label of each class, by its number; `why` says what they are and by what that was decided."""

    labels: tuple[str, ...]
    why: str


def written_labels(
    names: Sequence[str], codes: Sequence[str], wanted: str | None, template: Submission | None
) -> Written:
    """Decides by `wanted` ("names", "codes", or labels with commas between, in the order of classes), else by what
    labels the template has.

    Raises:
        DataError: what can't be decided, or a template whose labels are others.
    """
    if wanted is not None:
        written = _wanted(names, codes, wanted)
        if template and (outside := [kind for kind in template.kinds if kind not in written.labels]):
            raise DataError(
                f"{template.path}: has the {labels_listed(outside)}, where there are {listed(written.labels)} "
                f"(--labels {wanted}); give the contest's labels in the order of {listed_to_answer(names)}: "
                "--labels A,B,…; where the template's mean nothing, empty that column of it"
            )
        return written
    if template is None:
        if tuple(names) == tuple(codes):
            return Written(tuple(codes), "as in the training data")
        raise DataError(
            f"a label may be a name ({listed(names)}) or a code ({listed(codes)}): say which by --labels names or "
            "--labels codes, or give the contest's --template"
        )
    return _by_template(tuple(names), tuple(codes), template)


def _wanted(names: Sequence[str], codes: Sequence[str], wanted: str) -> Written:
    if wanted in ("names", "codes"):
        if tuple(names) != tuple(codes):
            return Written(tuple(names if wanted == "names" else codes), f"the {wanted} of the training data")
        if wanted == "codes" and not any(map(is_whole, codes)):
            raise DataError(
                f"--labels codes: the training data has no codes, only names ({listed_to_answer(names)}); leave "
                "--labels out, or give the contest's labels in this order: --labels A,B,…"
            )
        return Written(tuple(codes), "as in the training data")
    labels = labels_in(wanted)
    if len(labels) != len(names):
        raise DataError(
            f"--labels {wanted}: must be names, codes, or a label for each of {listed_to_answer(names)}, in this "
            f"order, {WITH_COMMAS}"
        )
    return Written(labels, "as --labels says")


WITH_COMMAS = "with commas between; one that holds a comma stands in double quotes"


def labels_in(wanted: str) -> tuple[str, ...]:
    """The labels of `--labels`, a line of CSV; none where it is no such line, or one is blank or stands twice."""
    try:
        labels = tuple(label.strip() for label in next(csv.reader([wanted], skipinitialspace=True, strict=True)))
    except csv.Error:
        return ()
    return labels if all(labels) and len(set(labels)) == len(labels) else ()


def _by_template(names: tuple[str, ...], codes: tuple[str, ...], template: Submission) -> Written:
    kinds = set(template.kinds)
    fitting = [labels for labels in dict.fromkeys((names, codes)) if kinds <= set(labels)]
    other = counted_otherwise(codes)
    if len(fitting) == 1 and not (fitting[0] == codes and other is not None and kinds <= set(other)):
        if names == codes:
            if kinds == set(codes):
                return Written(codes, f"as in the training data and in {template.path}")
            of_them = f" ({template.path} has {listed(template.kinds)} of them)" if kinds else ""
            return Written(codes, f"as in the training data{of_them}")
        what = "codes" if fitting[0] == codes else "names"
        return Written(fitting[0], f"the {what} of the training data, as {template.path} has them")
    has = f"{template.path}: has {f'the label {listed(template.kinds)} alone' if kinds else 'no labels'}"
    if fitting:
        raise DataError(
            f"{has}, which does not tell how labels are written ({listed(codes)} in the training data); say how by "
            f"--labels codes, --labels names, or in the order of {listed_to_answer(names)}: --labels A,B,…"
        )
    outside = min(([kind for kind in template.kinds if kind not in labels] for labels in (names, codes)), key=len)
    raise DataError(
        f"{template.path}: has the {labels_listed(outside)}, the training data {listed(codes)}"
        + ("" if names == codes else f" for {listed(names)}")
        + ("; one counts from 0 and the other from 1" if other is not None and kinds <= set(other) else "")
        + f"; give the contest's labels in the order of {listed_to_answer(names)}: --labels A,B,…"
    )
