"""How many steps a chunk of a training should have, learned from those that ran."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["Pace"]

# How long a chunk should take.
CHUNK_SECONDS: Final = 1.0
# Planning a statement should not take longer than a quarter of it, and nobody waits for minutes.
PLANNED_PARTS: Final = 4
MOST_PLANNED: Final = 5.0


@dataclass(frozen=True)
class Pace:
    """What is known of the time that chunks take.

    Attributes
    ----------
    ticks
        How many steps the next chunk should have.
    planned
        What a statement takes before its first step.
    last
        Steps and seconds of the last chunk.
    """

    ticks: int
    planned: float = 0.0
    last: tuple[int, float] | None = None

    @classmethod
    def guessed(cls, seconds: float, planned: float) -> Pace:
        """The pace of the first chunk, from what a step and planning a statement are thought to take.

        >>> Pace.guessed(0.01, 0.0).ticks, Pace.guessed(0.01, 1.0).ticks
        (100, 300)
        """
        target = max(CHUNK_SECONDS, PLANNED_PARTS * planned)
        return cls(max(1, int((target - planned) / seconds)), planned)

    def after(self, ticks: int, ran: float, committed: float) -> Pace:
        """The pace after a chunk of so many steps that ran and was committed in so many seconds.

        Examples
        --------
        Chunks of 4 steps in 3 seconds and of 1 step in 2.1 seconds spend 1.8 seconds on planning.

        >>> pace = Pace(4, planned=0.5).after(4, 3.0, 0.01).after(1, 2.1, 0.01)
        >>> round(pace.planned, 3), pace.ticks
        (1.8, 10)

        Chunks of nearly the same length say nothing about it.

        >>> Pace(100, planned=0.5).after(100, 3.0, 0.01).after(101, 3.5, 0.01).planned
        0.5
        """
        ran = max(ran, 1e-3)
        planned = self.planned
        # Chunks of nearly the same length differ by noise.
        if planned and self.last is not None and abs(self.last[0] - ticks) * 4 >= ticks:
            before, seconds = self.last
            step = max(0.0, (ran - seconds) / (ticks - before))
            planned = min(max(ran - step * ticks, planned / 2), MOST_PLANNED)
        # However little is left, a step takes some of it.
        step = max(ran - planned, ran / 10) / ticks
        # Committing should not take longer than a tenth of the training.
        target = max(CHUNK_SECONDS, PLANNED_PARTS * planned, 10 * committed)
        wanted = int(min(10 * ticks, (target - planned) / step))
        return replace(self, ticks=max(1, wanted), planned=planned, last=(ticks, ran))
