"""Loss curves of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from selectron.reporting.canvas import MUTED, PALETTE, chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from selectron.store.store import LogRow

__all__ = ["LossCurves", "draw_curves", "is_wide", "loss_curves"]

MOST_POINTS: Final = 400
# A loss that falls by more than so many times is drawn on a logarithmic scale.
WIDE: Final = 30.0

Point = tuple[int, float]


@dataclass(frozen=True)
class LossCurves:
    """The losses of epochs, as (epoch, loss); `best` is the epoch of the least held-out loss."""

    training: tuple[Point, ...]
    validation: tuple[Point, ...]
    best: int | None = None

    @property
    def logarithmic(self) -> bool:
        """Whether the losses need a logarithmic scale."""
        return is_wide([loss for _, loss in (*self.training, *self.validation)])


def is_wide(losses: Sequence[float]) -> bool:
    """Whether numbers are positive and of very different sizes.

    >>> is_wide([1.0, 0.5]), is_wide([1.0, 0.001]), is_wide([1.0, 0.0])
    (False, True, False)
    """
    return bool(losses) and min(losses) > 0.0 and max(losses) / min(losses) > WIDE


def loss_curves(log: Sequence[LogRow]) -> LossCurves | None:
    """The curves of a log; None if no epoch has ended."""
    training = [(row.epoch, row.training_loss) for row in log]
    validation = [(row.epoch, row.validation_loss) for row in log if row.validation_loss is not None]
    finite = [[(epoch, loss) for epoch, loss in own if math.isfinite(loss)] for own in (training, validation)]
    if not finite[0] and not finite[1]:
        return None
    best = min(finite[1], key=lambda point: point[1])[0] if finite[1] else None
    return LossCurves(thinned(finite[0]), thinned(finite[1]), best)


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> tuple[Point, ...]:
    """Every k-th point, the first and the last among them.

    >>> [epoch for epoch, _ in thinned([(e, 0.0) for e in range(1, 11)], most=4)]
    [1, 4, 7, 10]
    """
    every = max(1, -(-(len(points) - 1) // (most - 1)))
    kept = list(points[::every])
    return tuple(kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])


def draw_curves(curves: LossCurves) -> str:
    """The curves as markup."""

    def draw(figure: Figure, axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        named = (("training", curves.training), ("held out", curves.validation))
        for place, (label, points) in enumerate(named):
            if points:
                marker = "o" if len(points) < 3 else None
                axes.plot(
                    *zip(*points, strict=True), color=PALETTE[place], label=label, marker=marker, lw=1.6
                )
        if curves.best is not None:
            axes.axvline(curves.best, color=MUTED, lw=1, ls=":", label=f"least held out: epoch {curves.best}")
        if curves.logarithmic:
            axes.set_yscale("log")
            # Powers of ten would be written as formulas.
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss (log scale)" if curves.logarithmic else "loss")
        axes.legend()

    return chart("curves", "Loss of each epoch", draw, width=7.6, height=3.4)
