"""Every figure of the course, in one style: the finding in the title, few colours, the floor or the baseline drawn in."""

import itertools
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gptcore.files import atomic_write

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "VERMILION", "beside_healthy", "bytes_and_bits", "canvas",
           "character_map", "curves", "entropy_dots", "firing_curves", "gap_bars", "heat_map", "kind_dots",
           "ladder_bars", "layer_histograms", "leak_curves", "live", "loss_curves", "memory_bars", "next_character_bars",
           "number_bits", "parameter_curves", "reading", "run_panels", "save", "show", "shown_and_paid",
           "spread_labels", "stream_curves", "strips", "surprisal_text", "token_text", "train_and_validation", "visible"]

# Of Okabe and Ito's palette (2008), which stays apart for colour-blind eyes; grey for what is only there to compare.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8A8A"
FIGURES = Path(__file__).resolve().parent.parent / "figures"  # what the README shows
TINTS = "#B5D6EC", "#F8E0A8", "#DDDDDD"  # pale blue, orange and grey, to stand behind black letters
STYLE = {
    "figure.dpi": 100, "figure.constrained_layout.use": True, "font.size": 11, "axes.titlesize": 13,
    "axes.titlelocation": "left", "axes.titlepad": 12, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#555555", "axes.grid": True, "grid.color": "#E6E6E6", "axes.axisbelow": True,
    "lines.linewidth": 2, "legend.frameon": False, "svg.hashsalt": "gptcore",
}


@contextmanager
def canvas(title: str, width: float | int = 7.5, height: float | int = 4.2) -> Iterator[tuple[Figure, Axes]]:
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


def show(figure: Figure, alt: str, file: str = "") -> None:
    """Show a figure in a notebook, with a text for those who cannot see it, and close it.

    With GPTCORE_KEEP=1, as `make notebooks` sets it, a figure that has a `file` name is also written to figures/.
    """
    from IPython.display import display  # only where notebooks are; slow to import

    display(figure, metadata={"image/png": {"alt": alt}})
    if file and os.environ.get("GPTCORE_KEEP") == "1":
        save(figure, FIGURES / file)
    plt.close(figure)


def visible(character: str) -> str:
    """A character as a label: signs for the line break and the space, which have no shape of their own.

    >>> visible("\\n"), visible(" "), visible("a")
    ('↵', '␣', 'a')
    """
    return {"\n": "↵", " ": "␣"}.get(character, character)


def curves(
    x: Sequence[float | int],
    ys: Mapping[str, Sequence[float | int]],
    title: str,
    xlabel: str,
    ylabel: str = "bits per byte",
    line: tuple[str, float] | None = None,
    marker: str = "o",
) -> tuple[Figure, Axes]:
    """Draw up to four curves over the same x, each with its name at its right end; `line` names a height to compare with.

    A curve may have gaps, and may end early: a place where it is nan is left out.
    """
    with canvas(title) as (figure, axes):
        for (name, y), colour in zip(ys.items(), (BLUE, ORANGE, VERMILION, GREY), strict=False):
            there = [i for i, value in enumerate(y) if not np.isnan(value)]
            xs, ys_there = [x[i] for i in there], [y[i] for i in there]
            axes.plot(xs, ys_there, color=colour, marker=marker, markersize=5)
            axes.annotate(name, (xs[-1], ys_there[-1]), (8, 0), textcoords="offset points", color=colour, va="center",
                          annotation_clip=False)
        if line is not None:
            axes.axhline(line[1], color=GREEN, linestyle=(0, (4, 2)))
            axes.annotate(line[0], (1, line[1]), (-4, 4), xycoords=("axes fraction", "data"),
                          textcoords="offset points", color=GREEN, ha="right")
        axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def spread_labels(axes: Axes, least: float | int = 14) -> None:
    """Move the names at the ends of `curves` up where they would touch; call it when scales and limits are set."""
    to_points = 72 / axes.figure.dpi
    axes.figure.draw_without_rendering()  # or the heights would be those before the layout
    free = -np.inf
    for label in sorted((label for label in axes.texts if label.xycoords == "data"), key=lambda label: label.xy[1]):
        height = axes.transData.transform(label.xy)[1] * to_points
        free = max(height, free + least)
        label.xyann = (label.xyann[0], label.xyann[1] + free - height)


def leak_curves(found: Mapping[str, Sequence[float | int]], distances: Sequence[float | int], title: str) -> Figure:
    """Draw for each split the share of its validation passages that stand in training text so near, or nearer."""
    shares = {name: [100 * share for share in shares] for name, shares in found.items()}
    figure, axes = curves(distances, shares, title, "characters to the nearest training text that holds it",
                          "% of the validation passages")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    spread_labels(axes)
    return figure


def train_and_validation(panels: Mapping[str, pd.DataFrame], title: str,
                         floors: Mapping[str, float] | None = None) -> Figure:
    """Draw bits per byte over the vocabulary for several texts side by side: the columns `train`, `validation`, `error`.

    The axis of the vocabulary is logarithmic. `floors` names those of the texts whose floor is known.
    """
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, len(panels), figsize=(3.2 * len(panels) + 0.6, 3.9), sharey=True, squeeze=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13)
        for axes, (name, table) in zip(row[0], panels.items()):
            sizes = table["vocab_size"]
            for column, colour in (("train", ORANGE), ("validation", BLUE)):
                axes.plot(sizes, table[column], color=colour, marker="o", markersize=5)
            low, high = table["validation"] - table["error"], table["validation"] + table["error"]
            axes.vlines(sizes, low, high, BLUE, linewidth=1.5)
            axes.set_xscale("log")
            axes.set_xticks([100, 1000, 10000], ["100", "1,000", "10,000"])
            axes.set_xlim(0.7 * sizes.min(), 1.5 * sizes.max())
            axes.minorticks_off()
            axes.set_title(name, fontsize=11)
            axes.set_xlabel("tokens in the vocabulary")
            if name in (floors or {}):
                draw_floor(axes, floors[name])
        first = row[0, 0]
        table = next(iter(panels.values()))
        middle = len(table) // 2
        for column, colour, up in (("train", ORANGE, -12), ("validation", BLUE, 10)):
            first.annotate(column, (table["vocab_size"].iloc[middle], table[column].iloc[middle]), (0, up),
                           textcoords="offset points", color=colour, ha="left" if up > 0 else "right",
                           va="bottom" if up > 0 else "top")
        first.set_ylabel("bits per byte")
    return figure


def next_character_bars(distributions: Mapping[str, Mapping[str, float]], title: str, most: int = 8) -> Figure:
    """Draw who expects what as the next character, side by side: for each name `most` bars, the last for all others."""
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, len(distributions), figsize=(7.5, 3.2), squeeze=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13)
        for axes, (name, distribution) in zip(row[0], distributions.items()):
            likely = [(visible(character) or "end", p) for character, p in distribution.items()]
            likely.sort(key=lambda pair: -pair[1])
            if len(likely) > most:
                likely = [*likely[:most - 1], ("others", sum(p for _, p in likely[most - 1:]))]
            bars = axes.barh(range(len(likely)), [100 * p for _, p in likely], color=BLUE, height=0.7)
            axes.bar_label(bars, [f"{100 * p:.0f} %" if p >= 0.01 else "< 1 %" for _, p in likely], padding=4)
            axes.set_yticks(range(len(likely)), [label for label, _ in likely], family="monospace")
            axes.set_title(name, fontsize=11)
            axes.set(xlim=(0, 119), xticks=[0, 50, 100], xlabel="%")
            axes.set_ylim(most - 0.5, -0.5)
            axes.grid(axis="y", visible=False)
    return figure


def surprisal_text(text: str, bits: Sequence[float] | Float[np.ndarray, "n"], title: str) -> Figure:
    """Draw a text in which every character stands on a colour that says how many bits it cost."""
    bar = "bits that the character costs (steps of colour are finer for cheap ones)"
    return coloured_text(text, bits, title, "YlOrBr", PowerNorm(0.6, 0, 8), [0, 0.5, 1, 2, 4, 8], bar)


def reading(
    pieces: Sequence[str], weights: Sequence[float] | Float[np.ndarray, "n"], asking: Collection[int], title: str
) -> Figure:
    """Draw what is read: a text whose pieces stand on a colour for the weight that they get; who asks is underlined."""
    text, shares = "".join(pieces), np.repeat(weights, [len(piece) for piece in pieces])
    ends = np.cumsum([len(piece) for piece in pieces])
    underlined = [i for piece in asking for i in range(ends[piece] - len(pieces[piece]), ends[piece])]
    return coloured_text(text, shares, title, "YlGnBu", PowerNorm(0.5, 0, 1), [0, 0.01, 0.05, 0.2, 0.5, 1],
                         "weight of the token; the one that asks is underlined", "{x:.0%}", underlined)


def coloured_text(
    text: str, values: Sequence[float] | Float[np.ndarray, "n"], title: str, colours: str, norm: PowerNorm,
    ticks: Sequence[float | int], label: str, number: str = "{x:g}", underlined: Collection[int] = (),
) -> Figure:
    """Draw a text, each character on a colour for its value, long lines folded, with a bar that explains the colours."""
    lines, wide = text.rstrip("\n").split("\n"), 90
    places, row = [], 0  # (row, column) of each character
    for line in lines:
        places += [(row + i // wide, i % wide) for i in range(len(line) + 1)]
        row += len(line) // wide + 1
    palette = plt.get_cmap(colours)
    with canvas(title, width=9, height=0.21 * row + 1.1) as (figure, axes):
        for i, (character, (y, x), value) in enumerate(zip(text, places, values)):
            axes.add_patch(Rectangle((x, y), 1, 1, color=palette(norm(value)), linewidth=0))
            if i in underlined:
                axes.add_patch(Rectangle((x, y + 0.9), 1, 0.12, color=VERMILION, linewidth=0))
            axes.text(x + 0.5, y + 0.54, "" if character in " \n" else character, family="monospace", fontsize=9.5,
                      ha="center", va="center", color="white" if norm(value) > 0.72 else "black")
        axes.set(xlim=(0, wide + 1), ylim=(row, 0))
        axes.axis("off")
        bar = figure.colorbar(plt.cm.ScalarMappable(norm, palette), ax=axes, orientation="horizontal", aspect=45,
                              shrink=0.5, pad=0.02, ticks=ticks, format=number)
        bar.set_label(label, fontsize=9)
    return figure


def token_text(rows: Mapping[str, Sequence[bytes]], title: str, wide: int = 66) -> Figure:
    """Draw one text as several tokenizers cut it: a block for each name, the colour changing from token to token.

    A line break stands as ↵ and begins a new line; bytes that are no whole character stand as ▯. Behind a name stands how
    many tokens there are.
    """
    colours, places, names, line = [], [], [], 0
    for name, tokens in rows.items():
        names.append((line, f"{name}\n{len(tokens)} token{'s' * (len(tokens) != 1)}"))
        column = 0
        for i, token in enumerate(tokens):
            for j, character in enumerate(token.decode("utf-8", errors="replace")):
                if column == wide:
                    line, column = line + 1, 0
                places.append((line, column, character.replace("\ufffd", "▯"), j == 0))
                colours.append(TINTS[i % len(TINTS)])
                line, column = (line + 1, 0) if character == "\n" else (line, column + 1)
        line = max(line + (column > 0), names[-1][0] + 2) + 0.6
    with canvas(title, width=9, height=0.24 * line + 0.6) as (figure, axes):
        for (y, x, character, first), colour in zip(places, colours):
            axes.add_patch(Rectangle((x, y), 1, 0.92, color=colour, linewidth=0))
            if first:
                axes.plot((x, x), (y, y + 0.92), color="white", linewidth=1.5)
            axes.text(x + 0.5, y + 0.5, "" if character == " " else visible(character), family="monospace", fontsize=9.5,
                      ha="center", va="center")
        for y, name in names:
            axes.text(-1, y + 0.05, name, ha="right", va="top", fontsize=10, linespacing=1.35)
        axes.set(xlim=(-14, wide), ylim=(line, 0))
        axes.axis("off")
    return figure


def heat_map(
    matrix: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Draw a matrix of probabilities as a picture, one row for each condition; dark is likely."""
    size = 0.24
    with canvas(title, width=size * len(columns) + 2, height=size * len(rows) + 1.2) as (figure, axes):
        image = axes.imshow(matrix, cmap="YlGnBu", norm=PowerNorm(0.5, 0, 1))
        upright = 90 if max(map(len, columns)) > 2 else 0
        axes.set_xticks(range(len(columns)), map(visible, columns), family="monospace", fontsize=9, rotation=upright)
        axes.set_yticks(range(len(rows)), map(visible, rows), family="monospace", fontsize=9)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1], format="{x:.0%}")
        bar.outline.set_visible(False)
    return figure


def character_map(
    points: Float[np.ndarray, "n 2"], characters: Sequence[str], groups: Mapping[str, Sequence[str]], title: str
) -> Figure:
    """Draw characters at points of a plane; `groups` maps up to four names to the characters that get their colour."""
    with canvas(title, width=7.5, height=5.6) as (figure, axes):
        for row, (name, colour) in enumerate(zip(groups, (VERMILION, BLUE, GREEN, ORANGE), strict=False)):
            axes.text(1.02, 0.98 - 0.06 * row, name, color=colour, transform=axes.transAxes, va="top")
            for (x, y), character in zip(points, characters):
                if character in groups[name]:
                    axes.text(x, y, visible(character), color=colour, ha="center", va="center", fontsize=13,
                              family="monospace", weight="bold")
        axes.plot(*np.transpose(points), linestyle="")  # so that the axes hold all of them
        axes.margins(0.08)
        axes.set(xlabel="first number of the vector", ylabel="second number")
    return figure


def loss_curves(log: pd.DataFrame, bytes_per_token: float, floor: float | None = None) -> Figure:
    """Draw training and validation loss of a run's log, in bits per byte, over its steps."""
    to_bits = 1 / np.log(2) / bytes_per_token
    best = log["val_loss"].min() * to_bits
    title = f"Validation loss falls to {best:.3f} bits per byte"
    if floor is not None:
        title += f", {100 * (best / floor - 1):.0f} % above the floor"
    with canvas(title) as (figure, axes):
        draw_losses(axes, log, to_bits)
        seen = log.dropna(subset="train_loss")
        if len(seen):
            last = seen.iloc[-1]
            above = "validation" if last["val_loss"] >= last["train_loss"] else "training"
            for column, colour, name in (("train_loss", ORANGE, "training"), ("val_loss", BLUE, "validation")):
                axes.annotate(name, (last["step"], last[column] * to_bits), (0, 8 if name == above else -8),
                              textcoords="offset points", color=colour, ha="right", va="bottom" if name == above else "top")
        if floor is not None:
            draw_floor(axes, floor)
        axes.set(xlabel="step", ylabel="bits per byte, on fixed windows", xlim=(0, None))
    return figure


def draw_losses(axes: Axes, log: pd.DataFrame, scale: float) -> None:
    """Draw both losses of a log times `scale`, on a logarithmic axis, with a band of two standard errors."""
    seen = log.dropna(subset="train_loss")
    axes.plot(seen["step"], seen["train_loss"] * scale, color=ORANGE)
    axes.plot(log["step"], log["val_loss"] * scale, color=BLUE)
    axes.fill_between(log["step"], (log["val_loss"] - 2 * log["val_error"]) * scale,
                      (log["val_loss"] + 2 * log["val_error"]) * scale, color=BLUE, alpha=0.15, linewidth=0)
    if len(log) > 1:  # for a single number a logarithmic axis finds no ticks
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.3g}")
        axes.yaxis.set_minor_formatter("{x:.2g}")


def loss_unit(bytes_per_token: float | None) -> tuple[float, str]:
    """What to multiply the losses of a log by, and what comes out: bits per byte, where that can be known."""
    return (1 / math.log(2) / bytes_per_token, "bits per byte") if bytes_per_token else (1.0, "nats per token")


def run_panels(log: pd.DataFrame, title: str, steps: int, bytes_per_token: float | None = None,
               floor: float | None = None) -> Figure:
    """Draw the log of a run of `steps` steps, ended or not: the losses, and beside them rate, gradient norm and speed.

    In bits per byte where `bytes_per_token` is given, else in nats per token.
    """
    scale, unit = loss_unit(bytes_per_token)
    small = {"learning_rate": "learning rate", "grad_norm": "gradient norm", "tokens_per_second": "tokens per second"}
    with plt.rc_context(STYLE):
        figure, panels = plt.subplot_mosaic([["loss", name] for name in small], figsize=(10, 5), sharex=True,
                                            width_ratios=(3, 2))
        figure.suptitle(title, x=0.01, ha="left", fontsize=13)
        loss = panels.pop("loss")
        draw_losses(loss, log, scale)
        if len(log) < 9:  # a single point would make no line
            for line in loss.lines:
                line.set(marker="o", markersize=4)
        loss.yaxis.set_visible(len(log) > 0)
        for x, name, colour in ((0.8, "training", ORANGE), (1, "validation", BLUE)):  # above, where no curve is
            loss.text(x, 1.01, name, color=colour, transform=loss.transAxes, ha="right", va="bottom")
        if floor is not None:
            draw_floor(loss, floor)
        loss.set(xlabel="step", ylabel=f"{unit}, on fixed windows", xlim=(0, steps))
        for name, axes in panels.items():
            seen = log.dropna(subset=name)
            axes.plot(seen["step"], seen[name], color=GREY, marker="o", markersize=3, linewidth=1.5)
            axes.set_title(small[name], fontsize=11, pad=4)
            axes.set_ylim(0, 1.1 * seen[name].max() if len(seen) else 1)
            axes.yaxis.set_visible(len(seen) > 0)
            axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("step")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_formatter("{x:,.0f}")  # shared by all
    return figure


def beside_healthy(logs: Mapping[str, pd.DataFrame], title: str, floor: float | None = None) -> Figure:
    """Draw runs in panels, each with its name: columns `train` and `validation` over the index, a `healthy` run in grey."""
    healthy = logs["healthy"]
    panels = {name: log for name, log in logs.items() if name != "healthy"}
    columns = min(3, len(panels)) if len(panels) != 4 else 4
    rows = -(-len(panels) // columns)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, figsize=(9.2, 2.7 * rows + 0.6), sharex=True, sharey=True, squeeze=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13)
        for axes, (name, log) in zip(grid.flat, panels.items()):
            axes.plot(healthy["train"], color=GREY, linestyle="--", linewidth=1.4)
            axes.plot(healthy["validation"], color=GREY, linewidth=1.4)
            axes.plot(log["train"], color=ORANGE, linestyle="--")
            axes.plot(log["validation"], color=BLUE)
            axes.set_title(name, fontsize=12, fontweight="bold")
            if floor is not None:
                axes.axhline(floor, color=GREEN, linestyle=(0, (4, 2)), linewidth=1.2)
        for axes in grid.flat[len(panels):]:
            axes.axis("off")
        for axes in grid.flat[max(0, len(panels) - columns):len(panels)]:  # nothing stands below them
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("step")
        for axes in grid[:, 0]:
            axes.set_ylabel("bits per byte")
        grid[0, 0].set_ylim(0, None)
        first = grid[0, 0]
        for y, words, colour in ((0.93, "training, dashed", ORANGE), (0.83, "validation", BLUE), (0.73, "healthy", GREY)):
            first.text(0.97, y, words, color=colour, transform=first.transAxes, ha="right", va="top", fontsize=10)
    return figure


def shown_and_paid(table: pd.DataFrame, title: str) -> Figure:
    """Draw for each row how much better or worse it says it is (`shown`), and how much worse it is (`cost`, `error`)."""
    table = table.sort_values("cost")
    places = np.arange(len(table))
    with canvas(title, width=8.6, height=0.29 * len(table) + 1.5) as (figure, axes):
        axes.hlines(places, table["shown"], table["cost"], GREY, linewidth=1)
        axes.plot(table["shown"], places, "o", color="white", markeredgecolor=ORANGE, markeredgewidth=2, markersize=7)
        axes.errorbar(table["cost"], places, xerr=table["error"], fmt="o", color=BLUE, markersize=7, elinewidth=1.5)
        axes.axvline(0, color=GREEN, linestyle=(0, (4, 2)))
        axes.set_yticks(places, table.index)
        axes.grid(axis="y", visible=False)
        for y, words, colour in ((0.14, "o  what it says of itself", ORANGE), (0.07, "●  what it costs", BLUE)):
            axes.text(0.99, y, words, transform=axes.transAxes, color=colour, ha="right")
        axes.set(xlabel="bits per byte more than the healthy project")
    return figure


def draw_floor(axes: Axes, floor: float) -> None:
    """Draw the loss that no model can go below."""
    axes.axhline(floor, color=GREEN, linestyle=(0, (4, 2)))
    axes.annotate(f"floor {floor:.3f}", (0, floor), (6, 4), xycoords=("axes fraction", "data"),
                  textcoords="offset points", color=GREEN)


def ladder_bars(table: pd.DataFrame, ours: str = "GPT", title: str = "", floor: str = "floor") -> Figure:
    """Draw the rungs of a ladder (`gptcore.ladder.ladder`) as bars, ours and the floor in colour."""
    names = list(table.index)
    if not title and ours in names:
        title = f"{ours} needs {table.loc[ours, 'bits per byte']:.3f} bits per byte"
        if floor in names:
            title += f", {table.loc[ours, 'above lowest']:.0f} % above the floor"
    with canvas(title or "The ladder", height=0.5 * len(names) + 1.4) as (figure, axes):
        colours = [{ours: BLUE, floor: GREEN}.get(name, GREY) for name in names]
        bars = axes.barh(names, table["bits per byte"], xerr=table["error"], color=colours, height=0.65,
                         error_kw={"ecolor": "#333333", "elinewidth": 1})
        labels = [f"{value:.3f}" + (f" ± {error:.3f}" if error >= 0.0005 else "")
                  for value, error in zip(table["bits per byte"], table["error"])]
        axes.bar_label(bars, labels, padding=6)
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


def kind_dots(gaps: pd.DataFrame, worth: pd.Series, title: str) -> Figure:
    """Draw the gaps of up to three models, one column each, beside what each kind of structure is worth.

    The axis is logarithmic, since spelling is worth a hundred times a rhyme; a gap of 0 or less stands at its left end.
    """
    places, least = np.arange(len(gaps)), 0.3 * min(gaps[gaps > 0].min().min(), worth.min())
    with canvas(title, height=0.42 * len(gaps) + 1.6) as (figure, axes):
        axes.plot(worth[gaps.index], places, "|", color=GREEN, markersize=22, markeredgewidth=3)
        for name, colour in zip(gaps, (GREY, BLUE, ORANGE)):
            axes.plot(gaps[name].clip(lower=least), places, "o", color=colour, markersize=9)
        shown = gaps.clip(lower=least).assign(worth=worth[gaps.index])
        apart = np.diff(np.sort(np.log(shown), axis=1)).min(axis=1)
        widest = int(apart.argmax())  # where labels do not touch
        order = shown.iloc[widest].rank(method="first")
        sides = {1: "right", len(order): "left"} if apart[widest] < 0.5 else {}  # where it is narrow, they make room
        for i, (name, colour) in enumerate(zip(shown, (*(GREY, BLUE, ORANGE)[:len(gaps.columns)], GREEN))):
            if len(gaps.columns) < 3:
                axes.annotate(name, (shown[name].iloc[widest], widest), (0, 14), textcoords="offset points", color=colour,
                              ha=sides.get(int(order[name]), "center"))
            else:  # too many names for one row
                axes.text(1.02, 0.98 - 0.08 * i, name, transform=axes.transAxes, color=colour, va="top")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yticks(places, gaps.index)
        axes.set_ylim(len(gaps) - 0.5, -0.9)
        axes.set(xlabel="bits per byte above the floor; left of the mark something of the kind was learned")
    return figure


def shades(n: int) -> list:
    """Colours from dark to light for what has an order, such as layers."""
    return [plt.get_cmap("magma")(x) for x in np.linspace(0.1, 0.72, n)]  # lighter ones are no colours for letters


def layer_histograms(histograms: Mapping[str, pd.DataFrame], table: pd.DataFrame, title: str,
                     xlabel: str = "activation") -> Figure:
    """Draw the histogram of each layer (`Tape.histograms`) as a curve; beside it stand mean, spread and zeros of `table`.

    The axis of the density is logarithmic, since few numbers lie far from 0. The outermost bins, which hold all that lies
    further out, are not drawn.
    """
    with canvas(title, width=9) as (figure, axes):
        axes.text(1.02, 1.0, f"{'layer':<7}{'mean':>9}{'std':>9}{'zeros':>7}", transform=axes.transAxes, va="top",
                  family="monospace", fontsize=9)
        for row, ((name, seen), colour) in enumerate(zip(histograms.items(), shades(len(histograms)))):
            inner = seen[1:-1]
            drawn = inner[inner["density"] > 0]
            axes.plot(drawn["value"], drawn["density"], color=colour, linewidth=1.5)
            numbers = table.loc[name]
            axes.text(1.02, 0.93 - 0.065 * row, f"{short(name):<7}{numbers['mean']:>9.2g}{numbers['std']:>9.2g}"
                      f"{numbers['zeros']:>7.0%}", transform=axes.transAxes, va="top", family="monospace", fontsize=9,
                      color=colour)
        axes.set_yscale("log")
        axes.locator_params(axis="x", nbins=7)
        axes.ticklabel_format(axis="x", scilimits=(-3, 4))  # or the labels of gradients run into each other
        axes.set(xlabel=xlabel, ylabel="density")
    return figure


def short(layer: str) -> str:
    """The number in the name of a layer, or the name.

    >>> short("blocks.3.mlp.activation"), short("blocks.0.attention"), short("embeddings")
    ('3', '0', 'embeddings')
    """
    return next((part for part in layer.split(".") if part.isdigit()), layer)


def firing_curves(rates: pd.DataFrame, title: str) -> Figure:
    """Draw the firing rates of all units, lowest first, one curve for each layer; what touches the lower edge is dead.

    What stands in place of a layer's name and holds no number, such as `healthy`, is written as it is.
    """
    with canvas(title) as (figure, axes):
        layers = rates["rate"].groupby(level=0, sort=False)
        for i, ((name, rate), colour) in enumerate(zip(layers, shades(layers.ngroups))):
            axes.plot(np.linspace(0, 100, len(rate)), 100 * np.sort(rate), color=colour, clip_on=False)
            label = f"layer {short(name)}" if short(name).isdigit() else name
            axes.text(1.02, 0.98 - 0.07 * i, label, transform=axes.transAxes, color=colour, va="top")
        axes.set_yscale("symlog", linthresh=0.1)
        axes.set_ylim(0, 105)
        axes.set_yticks([0, 0.1, 1, 10, 100], ["never", "0.1 %", "1 %", "10 %", "always"])
        axes.set(xlabel="% of the units of the layer, least active first", ylabel="positions at which it fires")
    return figure


def parameter_curves(updates: pd.DataFrame, title: str, column: str = "ratio", line: float | int | None = None) -> Figure:
    """Draw a column of `Tape.updates` over the steps, a thin curve for each matrix, coloured by what it belongs to."""
    kinds = {"embedding": GREEN, "attention": ORANGE, "mlp": BLUE, "output": VERMILION}
    with canvas(title) as (figure, axes):
        shown = []
        for name, rows in updates[updates["parameter"].str.endswith("weight")].groupby("parameter", sort=False):
            kind = next((kind for kind in kinds if kind in name), None)
            if kind:
                axes.plot(rows["step"], rows[column], color=kinds[kind], linewidth=1, alpha=0.8)
                shown += [kind] * (kind not in shown)
        for i, kind in enumerate(shown):
            axes.text(1.02, 0.98 - 0.07 * i, kind, transform=axes.transAxes, color=kinds[kind], va="top")
        if line is not None:
            axes.axhline(line, color=GREY, linestyle=(0, (4, 2)))
        axes.set_yscale("log")
        axes.set(xlabel="step", ylabel={"ratio": "update / weight", "gradient": "norm of the gradient"}.get(column, column))
    return figure


def stream_curves(stream: pd.DataFrame, title: str) -> tuple[Figure, Axes]:
    """Draw the size of the residual stream by depth, and of what each layer adds (`Tape.stream`)."""
    places = range(len(stream))
    figure, axes = curves(places, {"the stream": list(stream["size"]), "added": [np.nan, *stream["added"][1:]]}, title,
                          "", "root mean square of the channels")
    names = [place if place == "embeddings" else f"{place.split('.')[-1]} {short(place)}" for place in stream.index]
    axes.set_xticks(places, names, rotation=35, ha="right")
    axes.set_ylim(0, None)
    return figure, axes


def entropy_dots(entropies: pd.DataFrame, title: str, most: float | int | None = None) -> Figure:
    """Draw the entropy of each head, a column of dots for each layer; `most` is that of weights that are all alike."""
    with canvas(title) as (figure, axes):
        for head in entropies:
            axes.plot(range(len(entropies)), entropies[head], "o", color=BLUE, markersize=9, alpha=0.7)
        if most is not None:
            axes.axhline(most, color=GREY, linestyle=(0, (4, 2)))
            axes.annotate("all positions alike", (1, most), (-4, 4), xycoords=("axes fraction", "data"),
                          textcoords="offset points", color=GREY, ha="right")
        axes.set_xticks(range(len(entropies)), map(short, entropies.index))
        axes.set(xlabel="layer", ylabel="entropy of a head's weights, bits", ylim=(0, None))
        axes.set_xlim(-0.5, len(entropies) - 0.5)
    return figure


def strips(values: Mapping[str, Sequence[float | int]], title: str, xlabel: str) -> Figure:
    """Draw a row of dots for each name, one for each of its values, and the largest as a number."""
    with canvas(title, height=0.9 + 0.55 * len(values)) as (figure, axes):
        for row, (xs, colour) in enumerate(zip(values.values(), itertools.cycle((BLUE, ORANGE, VERMILION, GREY)))):
            axes.plot(xs, [row] * len(xs), "o", color=colour, markersize=9, alpha=0.6, clip_on=False)
            axes.annotate(f"{max(xs):g}", (max(xs), row), (9, 0), textcoords="offset points", color=colour, va="center")
        axes.set_yticks(range(len(values)), values)
        axes.set(xlabel=xlabel, xlim=(0, None), ylim=(len(values) - 0.5, -0.5))
        axes.grid(axis="y", visible=False)
    return figure


def memory_bars(table: pd.DataFrame, title: str) -> Figure:
    """Draw the bytes of each kind, a bar for each column of the table (such as `predicted` and `measured`)."""
    with canvas(title, height=0.5 * len(table) + 1.6) as (figure, axes):
        height = 0.8 / len(table.columns)
        for i, (name, colour) in enumerate(zip(table, (GREY, BLUE))):
            bars = axes.barh(np.arange(len(table)) + (i - (len(table.columns) - 1) / 2) * height, table[name] / 1e6,
                             height=0.9 * height, color=colour)
            axes.bar_label(bars, [f"{size / 1e6:.1f} {name if row == 0 else ''}" for row, size in enumerate(table[name])],
                           padding=4, color=colour)
        axes.set_yticks(range(len(table)), table.index)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.2)
        axes.set(xlabel="MB")
    return figure


def number_bits(rows: Mapping[str, tuple[str, tuple[int, int, int], float]], title: str) -> Figure:
    """Draw the bits of numbers, a row for each name: the bits, how many are sign, exponent and the rest, and the number."""
    longest = max(len(bits) for bits, _, _ in rows.values())
    kinds = {"sign": TINTS[2], "exponent": TINTS[1], "digits": TINTS[0]}
    with canvas(title, width=9, height=0.42 * len(rows) + 1.3) as (figure, axes):
        for y, (name, (bits, parts, number)) in enumerate(rows.items()):
            colours = [colour for colour, count in zip(kinds.values(), parts) for _ in range(count)]
            for x, (bit, colour) in enumerate(zip(bits, colours, strict=True)):
                axes.add_patch(Rectangle((x, y), 0.94, 0.8, color=colour, linewidth=0))
                axes.text(x + 0.47, y + 0.42, bit, family="monospace", fontsize=10, ha="center", va="center")
            axes.text(-0.7, y + 0.42, name, ha="right", va="center")
            axes.text(longest + 0.7, y + 0.42, f"{number:.9g}", va="center", family="monospace")
        for x, (name, colour) in zip((0, 5, 12), kinds.items()):
            axes.add_patch(Rectangle((x, len(rows) + 0.25), 0.94, 0.5, color=colour, linewidth=0))
            axes.text(x + 1.4, len(rows) + 0.5, name, va="center", fontsize=10)
        axes.set(xlim=(-4, longest + 8), ylim=(len(rows) + 0.9, -0.1))
        axes.axis("off")
    return figure


def bytes_and_bits(table: pd.DataFrame, title: str, floor: float | None = None) -> Figure:
    """Draw models as points: the columns `MB`, `bits` (per byte) and `error`, the error bar; a name stands at its point.

    Those that no other one beats in both are joined by a line.
    """
    table = table.sort_values(["MB", "bits"])
    best = table[table["bits"] <= table["bits"].cummin()]
    with canvas(title, width=8.6, height=4.6) as (figure, axes):
        axes.plot(best["MB"], best["bits"], color=GREY, linewidth=1, zorder=1)
        for name, row in table.iterrows():
            colour = BLUE if name in best.index else ORANGE
            axes.errorbar(row["MB"], row["bits"], yerr=row["error"], fmt="o", color=colour, markersize=7, elinewidth=1.5)
            axes.annotate(name, (row["MB"], row["bits"]), (7, 6), textcoords="offset points", color=colour)
        axes.set_xscale("log")
        low, high = 0.85 * table["MB"].min(), 1.35 * table["MB"].max()
        ticks = [tick * scale for scale in (0.01, 0.1, 1, 10, 100) for tick in (1, 2, 3, 5) if low < tick * scale < high]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(low, high)
        axes.margins(y=0.1)
        if floor is not None:
            draw_floor(axes, floor)
        axes.set(xlabel="MB", ylabel="bits per byte")
    return figure


@contextmanager
def live(draw: Callable[[], Figure], alt: str) -> Iterator[Callable[..., None]]:
    """Yield a function that draws anew in the same place of a notebook: made to be the `after_evaluation` of `train`.

    With GPTCORE_OFFLINE=1, where outputs are stored and compared, the figure is shown once, at the end.
    """
    from IPython.display import display  # only where notebooks are; slow to import

    handle, stored = None, os.environ.get("GPTCORE_OFFLINE") == "1"

    def panel(*_: object) -> None:
        nonlocal handle
        if not stored:
            figure = draw()
            shown = handle.update if handle else partial(display, display_id=True)
            handle = shown(figure, metadata={"image/png": {"alt": alt}}) or handle
            plt.close(figure)

    yield panel
    if stored:
        show(draw(), alt)
