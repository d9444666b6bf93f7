"""Charts as SVG that takes its colours from the page, so that one drawing is legible in light and in dark.

Matplotlib writes a colour for each line; the colours used here stand for roles, and are replaced by the
page's CSS variables of those names.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from selectron.errors import MissingLibraryError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "GRID",
    "INK",
    "MUTED",
    "NEGATIVE",
    "PALETTE",
    "PAPER",
    "POSITIVE",
    "chart",
    "colours",
    "short",
    "standalone",
]

# Any colours that nothing else uses; none is ever shown.
INK: Final = "#0a0b01"
MUTED: Final = "#0a0b02"
GRID: Final = "#0a0b03"
PAPER: Final = "#0a0b04"
POSITIVE: Final = "#0a0b05"
NEGATIVE: Final = "#0a0b06"
PALETTE: Final = tuple(f"#0a0b1{place}" for place in range(8))
ACCENT: Final = PALETTE[0]

ROLES: Final[dict[str, str]] = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    POSITIVE: "positive",
    NEGATIVE: "negative",
    **{colour: f"series-{place}" for place, colour in enumerate(PALETTE)},
}

SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
    "text.parse_math": False,  # a column may be called $x$
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "normal",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}

SVG: Final = "http://www.w3.org/2000/svg"
LINK: Final = "http://www.w3.org/1999/xlink"


def short(text: object, most: int = 22) -> str:
    """A user's word as a chart's label: on one line, of bounded length, fit for XML.

    >>> short("a\\nvery long name of a column"), short("x\\x00y")
    ('a very long name of a…', 'x�y')
    """
    line = " ".join(str(text).split())
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def chart(
    name: str,
    title: str,
    draw: Callable[[Figure, Axes], None],
    *,
    width: float = 4.6,
    height: float = 3.3,
) -> str:
    """An SVG element, as markup.

    Parameters
    ----------
    name
        Begins the identifiers in it, so that several fit on a page.
    title
        What it shows, for those who cannot see it.
    draw
        Draws on a figure of one pair of axes.
    width, height
        In inches of 72 points; the page scales it.

    Raises
    ------
    ConfigurationError
        If Matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingLibraryError(
            "Charts need Matplotlib.", hint="Install it: pip install 'selectron[report]'."
        ) from None
    written = io.StringIO()
    settings: Any = {**SETTINGS, "svg.hashsalt": name}
    with rc_context(settings), warnings.catch_warnings():
        # Letters that Matplotlib's own font lacks: the page's fonts have them.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure, figure.add_subplot())
        figure.savefig(written, format="svg", metadata={"Date": None})
    return themed(written.getvalue(), name, title)


def themed(svg: str, name: str, title: str) -> str:
    """Matplotlib's file as an element of a page: its colours by role, its identifiers its own."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", LINK)
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            # Rules of a <style> would hold for the whole page.
            if child.tag in {f"{{{SVG}}}metadata", f"{{{SVG}}}style"}:
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                value = f"{name}-{value}"
            elif key == f"{{{LINK}}}href":
                value = value.replace("#", f"#{name}-")
            value = value.replace("url(#", f"url(#{name}-")
            value = re.sub(r"font: ([\d.]+px) [^;]*", r"font-size: \1", value)
            for colour, role in ROLES.items():
                value = value.replace(colour, f"var(--{role})")
            element.set(key, value)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-label", title)
    label = ElementTree.Element(f"{{{SVG}}}title")
    label.text = title
    root.insert(0, label)
    return ElementTree.tostring(root, encoding="unicode")


def colours() -> str:
    """The colours of the roles in light and in dark, as rules of a page."""
    return files("selectron.reporting").joinpath("colours.css").read_text(encoding="utf-8")


def standalone(svg: str) -> str:
    """A chart as a file of its own: with its colours, and letters that do not depend on a page."""
    root = ElementTree.fromstring(svg)
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = f"{colours()}svg.chart {{ background: var(--paper); font-family: sans-serif; }}"
    root.insert(1, style)
    return ElementTree.tostring(root, encoding="unicode")
