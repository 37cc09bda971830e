"""Who hears of a run while it goes: the terminal, a log, a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraloom.data import Finding
from loraloom.recipe import Recipe
from loraloom.search.outlook import Outlook
from loraloom.search.proposals import Proposal
from loraloom.study.leaderboard import Standing
from loraloom.study.record import Evaluation, TrialRecord


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What a search is about to do."""

    recipe: Recipe
    run: Path
    data: str
    labels: tuple[str, ...]
    rows: tuple[int, int, int]
    configurations: int | None
    finished: int
    dropped: tuple[str, ...]
    engine: str
    engine_reason: str
    outlook: Outlook
    more_dropped: int = 0
    """Than `dropped` names."""
    broken_off: int = 0
    """Trials that were under way when the run was broken off and go on, before all that is to come."""
    goes_beyond: bool = False
    """Time is left after all finals for a further seed, or a further finalist."""
    lacks_some: bool = False
    """Configurations are left to try, or seeds of them, whether or not there is time for one."""


class Watcher:
    """Hears nothing; others override what they care for."""

    def note(self, sentence: str) -> None:
        """Something that takes a while has begun."""

    def warned(self, sentence: str) -> None:
        """Something that the run goes on without has failed, of which a person should hear: a note, or louder."""
        self.note(sentence)

    def found(self, finding: Finding) -> None:
        """A check of the data found something, or a guess was made."""

    def planned(self, plan: SearchPlan) -> None:
        """The search begins, or goes on."""

    def trial_started(self, proposal: Proposal, parameters: int) -> None:
        """A trial begins."""

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        """A trial under way was evaluated."""

    def trial_ended(self, record: TrialRecord, standings: tuple[Standing, ...], outlook: Outlook) -> None:
        """A trial ended; `standings` are those of all finished ones, `outlook` is what is still to come."""

    def crowned(self, winner: TrialRecord) -> None:
        """The winner was tested, once; told again where a run that was over is gone on with."""


class Watchers(Watcher):
    """Several watchers as one: each hears of everything, in their order."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def note(self, sentence: str) -> None:
        for watcher in self._watchers:
            watcher.note(sentence)

    def warned(self, sentence: str) -> None:
        for watcher in self._watchers:
            watcher.warned(sentence)

    def found(self, finding: Finding) -> None:
        for watcher in self._watchers:
            watcher.found(finding)

    def planned(self, plan: SearchPlan) -> None:
        for watcher in self._watchers:
            watcher.planned(plan)

    def trial_started(self, proposal: Proposal, parameters: int) -> None:
        for watcher in self._watchers:
            watcher.trial_started(proposal, parameters)

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        for watcher in self._watchers:
            watcher.evaluated(number, evaluation)

    def trial_ended(self, record: TrialRecord, standings: tuple[Standing, ...], outlook: Outlook) -> None:
        for watcher in self._watchers:
            watcher.trial_ended(record, standings, outlook)

    def crowned(self, winner: TrialRecord) -> None:
        for watcher in self._watchers:
            watcher.crowned(winner)
