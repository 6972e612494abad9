"""Every figure of the course, in one style: the finding in the title, few colours, the floor or the baseline drawn in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptcore.files import atomic_write

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "VERMILION", "canvas", "gap_bars", "ladder_bars", "loss_curves", "save"]

# Of Okabe and Ito's palette (2008), which stays apart for colour-blind eyes; grey for what is only there to compare.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8A8A"
STYLE = {
    "figure.dpi": 100, "figure.constrained_layout.use": True, "font.size": 11, "axes.titlesize": 13,
    "axes.titlelocation": "left", "axes.titlepad": 12, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#555555", "axes.grid": True, "grid.color": "#E6E6E6", "axes.axisbelow": True,
    "lines.linewidth": 2, "legend.frameon": False, "svg.hashsalt": "gptcore",
}


@contextmanager
def canvas(title: str, width: float = 7.5, height: float = 4.2) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure and its axes in the style of the course; `title` says what is to be seen."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(width, height))
        axes.set_title(title)
        yield figure, axes


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file, whole or not at all, and close it; return the path."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Software": None})
    plt.close(figure)
    return Path(path)


def loss_curves(log: pd.DataFrame, bytes_per_token: float, floor: float | None = None) -> Figure:
    """Draw training and validation loss of a run's log, in bits per byte, over its steps."""
    to_bits = 1 / np.log(2) / bytes_per_token
    best = log["val_loss"].min() * to_bits
    title = f"Validation loss falls to {best:.3f} bits per byte"
    if floor is not None:
        title += f", {100 * (best / floor - 1):.0f} % above the floor"
    with canvas(title) as (figure, axes):
        seen = log.dropna(subset="train_loss")
        axes.plot(seen["step"], seen["train_loss"] * to_bits, color=ORANGE)
        axes.plot(log["step"], log["val_loss"] * to_bits, color=BLUE)
        axes.fill_between(log["step"], (log["val_loss"] - 2 * log["val_error"]) * to_bits,
                          (log["val_loss"] + 2 * log["val_error"]) * to_bits, color=BLUE, alpha=0.15, linewidth=0)
        if len(seen):
            last = seen.iloc[-1]
            above = "validation" if last["val_loss"] >= last["train_loss"] else "training"
            for column, colour, name in (("train_loss", ORANGE, "training"), ("val_loss", BLUE, "validation")):
                axes.annotate(name, (last["step"], last[column] * to_bits), (0, 8 if name == above else -8),
                              textcoords="offset points", color=colour, ha="right", va="bottom" if name == above else "top")
        if floor is not None:
            draw_floor(axes, floor)
        axes.set(xlabel="step", ylabel="bits per byte, on fixed windows", xlim=(0, None))
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.3g}")
        axes.yaxis.set_minor_formatter("{x:.2g}")
    return figure


def draw_floor(axes: Axes, floor: float) -> None:
    """Draw the loss that no model can go below."""
    axes.axhline(floor, color=GREEN, linestyle=(0, (4, 2)))
    axes.annotate(f"floor {floor:.3f}", (0, floor), (6, 4), xycoords=("axes fraction", "data"),
                  textcoords="offset points", color=GREEN)


def ladder_bars(table: pd.DataFrame, ours: str = "GPT", floor: str = "floor") -> Figure:
    """Draw the rungs of a ladder (`gptcore.ladder.ladder`) as bars, ours and the floor in colour."""
    names = list(table.index)
    title = f"{ours} needs {table.loc[ours, 'bits per byte']:.3f} bits per byte" if ours in names else "The ladder"
    if ours in names and floor in names:
        title += f", {table.loc[ours, 'above lowest']:.0f} % above the floor"
    with canvas(title, height=0.5 * len(names) + 1.4) as (figure, axes):
        colours = [{ours: BLUE, floor: GREEN}.get(name, GREY) for name in names]
        bars = axes.barh(names, table["bits per byte"], xerr=table["error"], color=colours, height=0.65,
                         error_kw={"ecolor": "#333333", "elinewidth": 1})
        axes.bar_label(bars, [f"{value:.3f} ± {error:.3f}" for value, error in zip(table["bits per byte"], table["error"])],
                       padding=6)
        if floor in table.index:
            axes.axvline(table.loc[floor, "bits per byte"], color=GREEN, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="bits per byte of the validation text", xlim=(0, 1.2 * table["bits per byte"].max()))
    return figure


def gap_bars(table: pd.DataFrame) -> Figure:
    """Draw what a model loses to the grammar by kind of structure (`gptcore.ladder.gap_by_kind`)."""
    table = table.sort_values("gap", ascending=False)
    most = table.index[0]
    title = f"Of the gap of {table['gap'].sum():.3f} bits per byte, {table.loc[most, 'share']:.0f} % is {most}"
    with canvas(title) as (figure, axes):
        bars = axes.barh(table.index, table["gap"], color=VERMILION, height=0.65)
        axes.bar_label(bars, [f"{share:.0f} %" for share in table["share"]], padding=4)
        axes.axvline(0, color=GREEN, linewidth=1.5)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.set(xlabel="bits per byte above the grammar, which stands at 0")
    return figure
