"""What the checks of a run's data found, from its recipe's provenance, of which every part may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loraloom.report import wording
from loraloom.report.reading import RunRead
from loraloom.study.provenance import as_list, as_mapping, data_stated

_TITLES = {
    "guessed_column": "A column was guessed",
    "rewritten_labels": "Labels that are read in another form",
    "label_codes": "Labels as classes",
    "class_shares": "Class shares",
    "alike_classes": "Classes of nearly the same name",
    "joined_classes": "Classes that are several in one",
    "missing_class": "Classes without rows",
    "empty_text": "Empty texts",
    "duplicate": "Repeated rows",
    "conflict": "Texts with several labels",
    "leak": "Rows in two splits",
    "near_copy": "Near copies in two splits",
    "split_guessed": "A split was guessed",
    "split_made": "Rows held out",
    "split_unused": "A split that is not used",
    "separated": "What separates cells",
    "not_read": "Files that are not read",
    "not_utf8": "Texts that are not UTF-8",
    "truncated": "Texts that are cut off",
    "unknown_tokens": "Texts that the encoder can't read",
}
"""What `data.Finding.kind` means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the data's checks found; `rows` is how many rows it concerns."""

    kind: str
    severity: str
    rows: int | None
    sentence: str
    examples: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its kind in words."""
        return _TITLES.get(self.kind, self.kind.replace("_", " "))


def found_by_checks(run: RunRead) -> tuple[Finding, ...]:
    """All that they found, in their order."""
    return tuple(map(_finding, as_list(data_stated(run.recipe).get("findings"))))


def _finding(given: Any) -> Finding:
    found = as_mapping(given)
    rows = found.get("count")
    return Finding(
        kind=wording.value(found.get("kind", "finding")),
        severity=wording.value(found.get("severity", "note")),
        rows=rows if isinstance(rows, int) else None,
        sentence=wording.value(found.get("sentence", "") if found else given),
        examples=tuple(wording.value(each) for each in as_list(found.get("examples"))),
    )
