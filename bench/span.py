"""What a peer gives back of a measurement, from inside its process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds around the work, and of each trial; tokens of its rows; parameters that were trained."""

    each_seconds: tuple[float, ...]
    tokens: int
    trainable: int

    @property
    def seconds(self) -> float:
        return sum(self.each_seconds)
