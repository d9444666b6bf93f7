"""Quality of predicted classes: ROC curves and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from selectron.reporting.canvas import ACCENT, MUTED, PALETTE, chart, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ReliabilityBin", "RocCurve", "calibration_error", "draw_reliability", "draw_roc"]


@dataclass(frozen=True)
class RocCurve:
    """Points (false positive rate, true positive rate) of a class against the rest, and the area."""

    label: str
    area: float | None
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of about the same predicted probability: how many, its mean, and how often it came true."""

    rows: int
    predicted: float
    observed: float


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """The mean distance of predicted probability and observed frequency, over rows.

    >>> calibration_error((ReliabilityBin(3, 0.9, 1.0), ReliabilityBin(1, 0.6, 0.0)))
    0.225
    """
    total = sum(one.rows for one in bins)
    return round(sum(one.rows * abs(one.predicted - one.observed) for one in bins) / total, 12)


def unit_square(axes: Axes) -> None:
    """Both axes from 0 to 1, and the diagonal."""
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=":")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")


def draw_roc(curves: tuple[RocCurve, ...]) -> str:
    """ROC curves as markup."""

    def draw(figure: Figure, axes: Axes) -> None:
        unit_square(axes)
        for place, curve in enumerate(curves):
            area = "" if curve.area is None else f" {curve.area:.3f}"
            across, up = zip((0.0, 0.0), *curve.points, strict=True)
            axes.plot(
                across, up, color=PALETTE[place], lw=1.6, label=short(curve.label, 18) + area, clip_on=False
            )
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        axes.legend(loc="lower right", title="area under", fontsize=8.5, title_fontsize=8.5)

    return chart("roc", "ROC curves, one class against the rest", draw, width=4.4, height=4.2)


def draw_reliability(bins: tuple[ReliabilityBin, ...], what: str) -> str:
    """A reliability diagram as markup; circles grow with the number of rows."""

    def draw(figure: Figure, axes: Axes) -> None:
        unit_square(axes)
        most = max(one.rows for one in bins)
        across, up = [one.predicted for one in bins], [one.observed for one in bins]
        axes.plot(across, up, color=ACCENT, lw=1.2)
        sizes = [16 + 160 * one.rows / most for one in bins]
        axes.scatter(across, up, s=sizes, color=ACCENT, alpha=0.7, linewidths=0, clip_on=False)
        axes.set_xlabel(short(f"predicted probability of {what}", 48))
        axes.set_ylabel("how often it was so")

    return chart(
        "reliability", "Predicted probability against observed frequency", draw, width=4.4, height=4.2
    )
