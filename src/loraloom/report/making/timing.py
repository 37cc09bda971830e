"""Time against the clock: what the commands of a run were allowed, and what they have used."""

from __future__ import annotations

from dataclasses import dataclass

from loraloom.report.wording import duration
from loraloom.study.commands import Command
from loraloom.wording import plural


@dataclass(frozen=True, slots=True)
class TimeUse:
    """All commands together: `used` is of those whose end is known, `allowed` None where one had no limit.

    `limited` counts the commands that had one, and `unknown` those whose end was not noted: those under way, and those
    that were killed.
    """

    used: float
    allowed: float | None
    commands: int
    limited: int
    unknown: int

    @property
    def percent(self) -> float | None:
        """Of what was allowed; None where there was no limit, or not all is known."""
        return None if not self.allowed or self.unknown else 100 * self.used / self.allowed

    @property
    def sentence(self) -> str:
        """What is known of the time, in words."""
        of = f" of {duration(self.allowed)}" if self.allowed else ""
        no_limit = f"{plural(self.limited, 'command')} had a limit" if self.limited else "no limit was set"
        limit = "" if self.allowed else f"; {no_limit}"
        by = f", in {plural(self.commands, 'command')}" if self.commands > 1 else ""
        if self.unknown == self.commands:
            return f"{f'{duration(self.allowed)} allowed' if self.allowed else no_limit}; not ended{by}"
        end = f"; {plural(self.unknown, 'command')} without a noted end not counted" if self.unknown else ""
        least = "at least " if self.unknown else ""
        return f"{least}{duration(self.used)}{of} used{by}{limit}{end}"

    @property
    def beside_used(self) -> str:
        """The sentence where `used` stands above it."""
        return self.sentence.removeprefix(f"{duration(self.used)} used").removeprefix(", ").removeprefix("; ")


def time_use(commands: tuple[Command, ...]) -> TimeUse | None:
    """None where the run has kept no commands."""
    known = [command for command in commands if command.started]
    if not known:
        return None
    limits = [command.allowed_seconds for command in known if command.allowed_seconds is not None]
    return TimeUse(
        used=sum(command.seconds for command in known if command.seconds is not None),
        allowed=sum(limits) if len(limits) == len(known) else None,
        commands=len(known),
        limited=len(limits),
        unknown=sum(command.seconds is None for command in known),
    )
