"""One look for all figures: the colours, each with its twin for a dark page, and a blank figure.

The hexadecimal colours are names too: on a page each becomes a CSS variable, so that a figure follows
the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import log10
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from rpstheory.report.numbers import SUPERSCRIPTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

INK, MUTED, RULE, BAND, PAPER = "#1a1d21", "#59636e", "#d3d9df", "#e3eef8", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE, GOLD, RED = (
    "#0b62ae", "#b84a00", "#00755e", "#86449a", "#8a6100", "#c01f2e",
)  # fmt: skip
# From "pruning is far better" over a tie to "sharing is far better".
BALANCE = (
    "#b35806", "#dd8432", "#f3b678", "#fbe3c8", "#d9e8f5", "#9fc8e6", "#5a9fd0", "#1f6bab",
)  # fmt: skip

DARK = {
    INK: "#e9ecef", MUTED: "#a4aeb9", RULE: "#3a424c", BAND: "#1c3147", PAPER: "#15181c",
    BLUE: "#66b4ff", ORANGE: "#ff9d5c", GREEN: "#45d1a6", PURPLE: "#d9a0e8", GOLD: "#e5bd4a",
    RED: "#ff7680",
    BALANCE[0]: "#f5a55c", BALANCE[1]: "#c4742d", BALANCE[2]: "#85501f", BALANCE[3]: "#463121",
    BALANCE[4]: "#1d3245", BALANCE[5]: "#255480", BALANCE[6]: "#3a80bd", BALANCE[7]: "#7dbdf5",
}  # fmt: skip

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "mathtext.fontset": "dejavusans",
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.grid": False,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "figure.dpi": 100,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.5,
    "savefig.dpi": 160,
    "svg.hashsalt": "rpstheory",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """``draw`` under the report's look, whatever the reader's own matplotlib settings."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(cast("Any", _RC))
            return draw(*args, **kwargs)

    return wrapper


def blank(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """An empty figure in inches, laid out by itself, and its axes as ``Figure.subplots`` gives them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**grid)


def ticks_in_words(axis: Any, values: list[float]) -> None:
    """Ticks at ``values`` of a logarithmic axis, written out."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def fixed(height: float, *panels: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """An empty figure with panels at set places: much faster to draw than one laid out by itself.

    Args:
        height: In inches, with half an inch for the labels below.
        panels: (room to the left for labels, width) of each panel, in inches.
    """
    from matplotlib.figure import Figure

    whole = sum(room + width for room, width in panels) + 0.1
    figure = Figure(figsize=(whole, height))
    axes, left, low = [], 0.0, 0.48
    for room, width in panels:
        left += room
        box = (left / whole, low / height, width / whole, (height - low - 0.1) / height)
        axes.append(figure.add_axes(box))
        left += width
    return figure, axes


def plain_numbers(axis: Any) -> None:
    """At most five ticks, each a number in full, with no common factor at the end of the axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    from rpstheory.report.numbers import figure

    axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(lambda v, _: figure(v, 4)))


def powers_of_ten(axis: Any) -> None:
    """Ticks of a logarithmic axis as 10⁻², 1, 100, without mathtext."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def text(value: float, _: object) -> str:
        power = round(log10(value))
        return f"{value:g}" if -4 < power < 5 else "10" + str(power).translate(SUPERSCRIPTS)

    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(NullFormatter())


def legend_above(axes: Axes, columns: int) -> None:
    """The legend of ``axes`` over its top edge, from the left."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        handlelength=2.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
