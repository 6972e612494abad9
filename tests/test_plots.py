"""Figures: each draws what it is given, with its baseline, and is written whole or not at all."""
import math

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat import v4

from gptcore import plots
from gptcore.ladder import ladder

LOG = pd.DataFrame({"step": [0, 10, 20], "train_loss": [np.nan, 3.0, 2.0], "val_loss": [4.0, 3.1, 2.2],
                    "val_error": [0.1, 0.1, 0.1]})


def texts(figure):
    return " ".join(text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title, axes.xaxis.label])


def left_title(figure):
    return figure.axes[0].get_title(loc="left")


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def test_loss_curves_are_in_bits_per_byte_with_the_floor():
    figure = plots.loss_curves(LOG, bytes_per_token=4.0, floor=0.5)
    training, validation, below = figure.axes[0].lines
    np.testing.assert_allclose(validation.get_ydata(), np.array([4.0, 3.1, 2.2]) / math.log(2) / 4)
    np.testing.assert_allclose(training.get_ydata(), np.array([3.0, 2.0]) / math.log(2) / 4)
    assert set(below.get_ydata()) == {0.5}
    best = 2.2 / math.log(2) / 4
    assert f"{best:.3f}" in left_title(figure) and f"{100 * (best / 0.5 - 1):.0f} %" in left_title(figure)
    assert "floor 0.500" in texts(figure)


def test_without_a_floor_none_is_drawn():
    figure = plots.loss_curves(LOG, bytes_per_token=4.0)
    assert len(figure.axes[0].lines) == 2 and "floor" not in texts(figure) + left_title(figure)


def test_loss_curves_of_a_run_that_has_just_begun():
    plots.loss_curves(LOG[:1], bytes_per_token=4.0, floor=0.5)


def test_ladder_bars_show_every_rung_with_its_number():
    table = ladder({"uniform": [np.full(20, 4.0)] * 10, "GPT": [np.full(20, 1.0)] * 10, "floor": [np.full(20, 0.5)] * 10})
    figure = plots.ladder_bars(table)
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(list(table["bits per byte"]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["uniform", "GPT", "floor"]
    for value in table["bits per byte"]:
        assert f"{value:.3f}" in texts(figure)
    colours = {label.get_text(): bar.get_facecolor() for label, bar in zip(axes.get_yticklabels(), axes.patches)}
    assert len(set(colours.values())) == 3
    assert "100 % above the floor" in left_title(figure)


def test_labels_that_would_touch_are_moved_apart_and_keep_their_order():
    figure, axes = plots.curves([1, 2], {"top": [0, 99.5], "low": [0, 10], "next": [0, 99]}, "title", "x")
    axes.set_ylim(0, 100)
    plots.spread_labels(axes)
    figure.draw_without_rendering()
    heights = {label.get_text(): label.get_window_extent() for label in axes.texts}
    assert heights["top"].y0 >= heights["next"].y1 - 1 and heights["next"].y0 > heights["low"].y1
    assert axes.texts[1].xyann == (8, 0)  # alone, it stays where it was


def test_gap_bars_name_the_largest_kind():
    table = pd.DataFrame({"gap": {"rhyme": 0.1, "cast": 0.3, "order": -0.01}})
    table["share"] = 100 * table["gap"] / table["gap"].sum()
    figure = plots.gap_bars(table)
    assert "77 % is cast" in left_title(figure)
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([0.3, 0.1, -0.01])


def test_save_is_atomic_closes_and_repeats_byte_for_byte(tmp_path):
    first, second = (plots.save(plots.loss_curves(LOG, 4.0), tmp_path / name) for name in ("deep/a.png", "deep/b.png"))
    assert first.read_bytes() == second.read_bytes() and first.read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.png", "b.png"]


def test_the_style_stays_within_the_figure():
    before = dict(plt.rcParams)
    plots.gap_bars(pd.DataFrame({"gap": {"a": 1.0}, "share": {"a": 100.0}}))
    assert dict(plt.rcParams) == before


def test_every_number_of_the_loss_curves_is_the_logs():
    log, bit = LOG.assign(val_loss=[4.0, 2.1, 2.2]), 1 / math.log(2) / 4
    axes = plots.loss_curves(log, 4.0).axes[0]
    assert f"{2.1 * bit:.3f}" in axes.get_title(loc="left")  # the best, not the last
    assert axes.get_ylabel().startswith("bits per byte")
    assert [list(line.get_xdata()) for line in axes.lines] == [[10, 20], [0, 10, 20]]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((1.9 * bit, 4.2 * bit))  # two standard errors to either side
    labels = {text.get_text(): (text.xy[1], text.get_va()) for text in axes.texts}
    assert labels["training"] == (pytest.approx(2.0 * bit), "top")
    assert labels["validation"] == (pytest.approx(2.2 * bit), "bottom")


def test_every_number_of_the_ladder_is_the_tables():
    table = pd.DataFrame({"bits per byte": [4, 1.5, 1], "error": [0.3, 0.2, 0.1], "above lowest": [300, 50, 0]},
                         index=["uniform", "GPT", "floor"])
    axes = plots.ladder_bars(table).axes[0]
    assert "GPT needs 1.500" in axes.get_title(loc="left")
    assert [text.get_text() for text in axes.texts] == ["4.000 ± 0.300", "1.500 ± 0.200", "1.000 ± 0.100"]
    assert axes.get_xlabel().startswith("bits per byte")
    whiskers = [end[0] - start[0] for start, end in axes.collections[0].get_segments()]
    assert whiskers == pytest.approx([0.6, 0.4, 0.2])
    assert set(axes.lines[-1].get_xdata()) == {1}
    assert axes.patches[1].get_facecolor() == matplotlib.colors.to_rgba(plots.BLUE)
    assert "floor" not in left_title(plots.ladder_bars(table[:2]))


def test_every_number_of_the_gaps_is_the_tables():
    figure = plots.gap_bars(pd.DataFrame({"gap": {"x": 0.1, "y": 0.3}, "share": {"x": 25.0, "y": 75.0}}))
    assert "0.400 bits" in left_title(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["75 %", "25 %"]
    assert set(figure.axes[0].lines[0].get_xdata()) == {0}


def test_curves_draw_every_value_and_name_each_curve():
    ys = {"ours": [3, 2, 1], "theirs": [4, 5, 6]}
    figure, axes = plots.curves([1, 2, 3], ys, "Finding", "k", line=("floor 0.500", 0.5))
    ours, theirs, line = axes.lines
    assert list(ours.get_ydata()) == [3, 2, 1] and list(theirs.get_xdata()) == [1, 2, 3] and set(line.get_ydata()) == {0.5}
    names = {text.get_text(): text.xy for text in axes.texts}
    assert names["ours"] == (3, 1) and names["theirs"] == (3, 6) and "floor 0.500" in names
    assert axes.get_ylabel() == "bits per byte" and left_title(figure) == "Finding"
    colours = [curve.get_color() for curve in axes.lines]
    assert len(set(colours)) == 3 and axes.texts[0].get_color() == colours[0]


def test_a_curve_with_gaps_is_named_where_it_ends():
    ys = {"short": [3.0, math.nan, 2.0, math.nan], "long": [4.0, 3.0, 2.0, 1.0]}
    _, axes = plots.curves([1, 2, 4, 8], ys, "T", "x")
    short, long = axes.lines
    assert (list(short.get_xdata()), list(short.get_ydata())) == ([1, 4], [3.0, 2.0])
    assert list(long.get_ydata()) == [4.0, 3.0, 2.0, 1.0]
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("short", (4, 2.0)), ("long", (8, 1.0))]


def test_character_map_puts_each_character_at_its_point_in_the_colour_of_its_group():
    figure = plots.character_map(np.array([[1.0, 2.0], [3.0, -4.0]]), ["a", " "], {"letters": "ab", "signs": " "}, "T")
    shown = {text.get_text(): text for text in figure.axes[0].texts}
    assert shown.keys() == {"letters", "signs", "a", "␣"}
    assert shown["a"].get_position() == (1.0, 2.0) and shown["␣"].get_position() == (3.0, -4.0)
    assert shown["a"].get_color() == shown["letters"].get_color() != shown["␣"].get_color()
    left, right = figure.axes[0].get_xlim()
    assert left < 1 < 3 < right


def test_train_and_validation_stand_side_by_side():
    table = pd.DataFrame({"vocab_size": [66, 500, 2000], "train": [1.4, 1.2, 1.0], "validation": [1.5, 1.4, 1.45],
                          "error": [0.01, 0.02, 0.03]})
    figure = plots.train_and_validation({"ours": table, "real": table + 1}, "Finding", {"ours": 0.7})
    ours, real = figure.axes
    train, validation, floor = ours.lines
    assert list(train.get_ydata()) == [1.4, 1.2, 1.0] and list(validation.get_xdata()) == [66, 500, 2000]
    assert set(floor.get_ydata()) == {0.7} and len(real.lines) == 2 and ours.get_ylim() == real.get_ylim()
    assert ours.get_xscale() == "log" and (left_title(figure), real.get_title(loc="left")) == ("ours", "real")
    named = {text.get_text(): (text.xy, text.get_color()) for text in ours.texts}
    bars = [segment[:, 1].tolist() for segment in ours.collections[0].get_segments()]
    assert np.allclose(bars, [[1.49, 1.51], [1.38, 1.42], [1.42, 1.48]])
    assert named["train"] == ((500, 1.2), train.get_color()) and named["validation"] == ((500, 1.4), validation.get_color())
    assert figure.get_suptitle() == "Finding" and not real.texts


def test_next_character_bars_show_the_likeliest_first():
    opened = {"a": 0.1, "q": 0.055, "\n": 0.5, "b": 0.3, " ": 0.045}
    left, right = plots.next_character_bars({"open": opened, "closed": {"x": 0.995, " ": 0.005}}, "T", most=4).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["↵", "b", "a", "others"]
    assert [bar.get_width() for bar in left.patches] == pytest.approx([50, 30, 10, 10])
    assert [text.get_text() for text in left.texts] == ["50 %", "30 %", "10 %", "10 %"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["x", "␣"]
    assert right.texts[1].get_text() == "< 1 %"
    assert left.get_ylim() == right.get_ylim() and right.get_title(loc="left") == "closed"


def test_surprisal_text_sets_every_character_on_the_colour_of_its_bits():
    text = "ab\n" + "c" * 100 + "\n"
    figure = plots.surprisal_text(text, np.linspace(0, 8, len(text)), "T")
    axes = figure.axes[0]
    assert "".join(shown.get_text() for shown in axes.texts) == "ab" + "c" * 100
    places = [patch.get_xy() for patch in axes.patches]
    assert places[0] == (0, 0) and places[3] == (0, 1) and places[-2] == (9, 2)  # after 90 characters a line is folded
    darkness = [sum(patch.get_facecolor()[:3]) for patch in axes.patches]
    assert darkness == sorted(darkness, reverse=True) and darkness[0] > 2 * darkness[-1]


def test_token_text_changes_colour_from_token_to_token():
    whole, parts = [b"ab", b"\n", "é c".encode()], ["é".encode()[:1], "é".encode()[1:], b"x" * 70]
    figure = plots.token_text({"whole": whole, "parts": parts}, "T")
    axes = figure.axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert shown[:6] == ["a", "b", "↵", "é", "", "c"]
    assert shown[-2:] == ["whole\n3 tokens", "parts\n3 tokens"] and shown[6:8] == ["▯", "▯"]
    places = [patch.get_xy() for patch in axes.patches]
    assert places[2] == (2, 0) and places[3] == (0, 1)  # the line break ends its line
    assert places[-1][0] == 70 + 2 - 66 - 1 and places[-1][1] == places[6][1] + 1  # a long line is folded
    colours = [patch.get_facecolor() for patch in axes.patches]
    assert colours[0] == colours[1] != colours[2] != colours[3] == colours[4] == colours[5]
    assert colours[6] != colours[7] != colours[8] and len(set(colours[8:])) == 1
    assert len(axes.lines) == len(whole) + len(parts)  # each token begins with a white line, for eyes without colours


def test_reading_spreads_the_weight_of_a_piece_over_its_characters_and_underlines_who_asks():
    axes = plots.reading(["Ad", "a:\n", "Sing"], [0.1, 0.9, 0.0], [2], "T").axes[0]
    assert "".join(shown.get_text() for shown in axes.texts) == "Ada:Sing"
    squares = [patch for patch in axes.patches if patch.get_height() == 1]
    colours = [patch.get_facecolor() for patch in squares]
    assert colours[0] == colours[1] != colours[2] == colours[3] == colours[4] != colours[5]  # the line break is of "a:"
    lines = [patch.get_xy() for patch in axes.patches if patch.get_height() < 1]
    assert [x for x, _ in lines] == [0, 1, 2, 3] and all(1 < y < 2 for _, y in lines)  # the second row


def test_heat_map_keeps_rows_and_columns_apart():
    matrix = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    axes = plots.heat_map(matrix, ["a", "\n"], ["x", "y", " "], "T", "next", "this").axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), matrix)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "↵"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "␣"]
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {0}
    words = plots.heat_map(matrix, ["a", "b"], ["Ada", "has", "it"], "T", "next", "this").axes[0]
    assert {label.get_rotation() for label in words.get_xticklabels()} == {90}  # side by side they would overlap
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("next", "this")


def test_runs_stand_beside_the_healthy_one():
    logs = {name: pd.DataFrame({"train": [4.0, last], "validation": [4.0, last + 1]}, index=[0, 10])
            for name, last in (("healthy", 2.0), ("A", 1.0), ("B", 3.0))}
    figure = plots.beside_healthy(logs, "T", floor=0.7)
    assert figure.get_suptitle() == "T" and [axes.get_title(loc="left") for axes in figure.axes] == ["A", "B"]
    for axes, last in zip(figure.axes, (1.0, 3.0)):
        assert [line.get_ydata()[-1] for line in axes.lines] == [2, 3, last, last + 1, 0.7]
        assert axes.get_ylim()[0] == 0
    assert len(plots.beside_healthy(logs | {letter: logs["A"] for letter in "CDE"}, "T").axes) == 6


def test_what_is_shown_and_what_is_paid_stand_in_one_row():
    table = pd.DataFrame({"shown": [-1.0, 0.5], "cost": [2.0, 0.1], "error": [0.2, 0.0]}, index=["mask", "five"])
    axes = plots.shown_and_paid(table, "T").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["five", "mask"]  # the dearest on top
    shown, paid = axes.lines[0], axes.lines[1]
    assert list(shown.get_xdata()) == [0.5, -1] and list(paid.get_xdata()) == [0.1, 2]


def test_figures_are_written_only_when_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plots, "FIGURES", tmp_path)
    monkeypatch.delenv("GPTCORE_KEEP", raising=False)
    plots.show(plots.loss_curves(LOG, 4.0), "a falling curve", "loss.png")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("GPTCORE_KEEP", "1")
    plots.show(plots.loss_curves(LOG, 4.0), "a falling curve", "loss.png")
    plots.show(plots.loss_curves(LOG, 4.0), "a falling curve")
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]
    assert plt.get_fignums() == [] and capsys.readouterr().out.count("Figure") == 3


def test_a_figure_in_a_notebook_has_its_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda figure, metadata: shown.append(metadata))
    plots.show(plots.loss_curves(LOG, 4.0), "a falling curve")
    assert shown == [{"image/png": {"alt": "a falling curve"}}]


def test_a_given_title_stands_on_the_ladder():
    table = pd.DataFrame({"bits per byte": [4, 1], "error": [0, 0], "above lowest": [300, 0]}, index=["GPT", "floor"])
    assert left_title(plots.ladder_bars(table, title="Ours")) == "Ours"
    assert left_title(plots.ladder_bars(table[1:])) == "The ladder"


def test_kind_dots_stand_at_gap_and_worth():
    gaps = pd.DataFrame({"bigram": {"rhyme": 0.03, "cast": 0.2}, "5-gram": {"rhyme": -0.01, "cast": 0.05}})
    axes = plots.kind_dots(gaps, pd.Series({"cast": 0.1, "rhyme": 0.02}), "T").axes[0]
    worth, bigram, five = axes.lines
    assert list(worth.get_xdata()) == [0.02, 0.1] and list(bigram.get_xdata()) == [0.03, 0.2]
    assert five.get_xdata()[0] < 0.01 and five.get_xdata()[1] == 0.05  # below 0 stands at the left end
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rhyme", "cast"]
    assert {text.get_text(): text.xy for text in axes.texts} == {"bigram": (0.2, 1), "5-gram": (0.05, 1), "worth": (0.1, 1)}
    assert axes.get_xscale() == "log" and axes.get_ylim()[0] > axes.get_ylim()[1]
    third = plots.kind_dots(gaps.assign(network=[0.02, 0.04]), pd.Series({"cast": 0.1, "rhyme": 0.02}), "T").axes[0]
    named = {text.get_text(): text for text in third.texts}
    assert list(named) == ["bigram", "5-gram", "network", "worth"]
    assert [text.get_color() for text in named.values()] == [line.get_color() for line in (*third.lines[1:], third.lines[0])]


def layers():
    histograms = {f"blocks.{i}.mlp.activation": pd.DataFrame({"value": np.arange(5.0), "density": [9, 0.5, i, 0.25, 9]})
                  for i in range(2)}
    return histograms, pd.DataFrame({"mean": [0.5, -2.0], "std": [1.0, 0.125], "zeros": [0.25, 0.5]}, index=list(histograms))


def test_layer_histograms_leave_out_the_outermost_bins_and_what_is_empty():
    histograms, table = layers()
    figure = plots.layer_histograms(histograms, table, "Layers")
    first, second = figure.axes[0].lines
    assert list(first.get_ydata()) == [0.5, 0.25] and list(second.get_xdata()) == [1, 2, 3]
    assert "0 0.5 1 25%" in " ".join(texts(figure).split()) and "1 -2 0.12 50%" in " ".join(texts(figure).split())


def test_firing_curves_are_sorted_and_reach_down_to_never():
    rates = pd.DataFrame({"rate": [0.5, 0.0, 1.0, 0.25]}, pd.MultiIndex.from_product([["a.0", "a.1"], [0, 1]]))
    figure = plots.firing_curves(rates, "Units")
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[0, 50], [25, 100]]
    assert "never" in [label.get_text() for label in figure.axes[0].get_yticklabels()] and "layer 1" in texts(figure)
    assert "healthy" in texts(plots.firing_curves(rates.rename(index={"a.0": "healthy"}), "Models"))


def test_parameter_curves_are_those_of_the_matrices():
    names = ["token_embedding.weight", "blocks.0.mlp.expand.weight", "blocks.0.mlp.expand.bias", "blocks.0.norm_1.weight"]
    updates = pd.DataFrame({"step": [0] * 4 + [1] * 4, "parameter": names * 2, "ratio": np.arange(1.0, 9)})
    figure = plots.parameter_curves(updates, "Updates", line=1e-3)
    token, expand, line = figure.axes[0].lines
    assert list(token.get_ydata()) == [1, 5] and list(expand.get_ydata()) == [2, 6] and set(line.get_ydata()) == {1e-3}
    assert "embedding" in texts(figure) and "attention" not in texts(figure)


def test_stream_entropy_and_memory_show_every_number():
    stream = pd.DataFrame({"size": [1.0, 2.0, 3.0], "added": [0.0, 0.5, 0.25]},
                          index=["embeddings", "blocks.0.attention", "blocks.0.mlp"])
    figure, axes = plots.stream_curves(stream, "Stream")
    assert [list(line.get_ydata()) for line in axes.lines] == [[1, 2, 3], [0.5, 0.25]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["embeddings", "attention 0", "mlp 0"]
    entropies = pd.DataFrame({0: [1.0, 2.0], 1: [3.0, 4.0]}, index=["blocks.0.attention", "blocks.1.attention"])
    figure = plots.entropy_dots(entropies, "Heads", most=7)
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[1, 2], [3, 4], [7, 7]]
    memory = pd.DataFrame({"predicted": [1e6, 2e6], "measured": [1e6, 2.5e6]}, index=["weights", "activations"])
    figure = plots.memory_bars(memory, "Memory")
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1, 2, 1, 2.5]
    assert "1.0 predicted" in texts(figure) and "1.0 measured" in texts(figure)


def test_number_bits_show_each_bit_in_the_colour_of_its_part():
    figure = plots.number_bits({"fp4": ("0110", (1, 2, 1), 3.0), "int2": ("01", (1, 0, 1), 0.5)}, "Bits")
    axes = figure.axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert shown == [*"0110", "fp4", "3", *"01", "int2", "0.5", "sign", "exponent", "digits"]
    colours = [patch.get_facecolor() for patch in axes.patches]
    sign, exponent, digits = colours[6:]  # of the row that explains them
    assert colours[:6] == [sign, exponent, exponent, digits, sign, digits] and len({sign, exponent, digits}) == 3
    with pytest.raises(ValueError, match="zip"):
        plots.number_bits({"fp4": ("0110", (1, 2, 2), 3.0)}, "Bits")


def test_bytes_and_bits_joins_what_nothing_beats():
    table = pd.DataFrame({"MB": [8.0, 1.0, 2.0, 1.1], "bits": [0.5, 0.8, 0.6, 0.9], "error": [0.0, 0.02, 0.01, 0.03]},
                         index=["fp32", "int4", "int8", "poor"])
    figure = plots.bytes_and_bits(table, "Bytes and bits", floor=0.4)
    axes = figure.axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 2, 8] and list(axes.lines[0].get_ydata()) == [0.8, 0.6, 0.5]
    assert [text.get_text() for text in axes.texts] == ["int4", "poor", "int8", "fp32", "floor 0.400"]
    bars = [bar.get_children()[-1].get_segments()[0][:, 1] for bar in axes.containers]
    np.testing.assert_allclose(bars[0], [0.78, 0.82])
    assert "floor" not in texts(plots.bytes_and_bits(table, "Bytes and bits"))


def draw():
    return plots.curves([0, 1], {"loss": [2, 1]}, "Loss", "step")[0]


def test_a_live_panel_is_drawn_anew_in_its_place():
    source = """
import os
os.environ.pop("GPTCORE_OFFLINE", None)
from gptcore import plots
turns = []
def draw():
    turns.append(1)
    return plots.plt.figure(figsize=(len(turns), 1), dpi=100)
with plots.live(draw, "grows") as panel:
    for _ in range(3):
        panel("model", "state")
"""
    made = NotebookClient(v4.new_notebook(cells=[v4.new_code_cell(source)]), kernel_name="python3", timeout=120).execute()
    shown = [output for output in made.cells[0].outputs if output.output_type == "display_data"]
    assert [output.data["text/plain"] for output in shown] == ["<Figure size 300x100 with 0 Axes>"]
    assert shown[0].metadata["image/png"]["alt"] == "grows"


def test_where_outputs_are_stored_a_live_panel_is_one_figure_at_the_end(monkeypatch):
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    shown = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: shown.append(alt))
    with plots.live(draw, "falls") as panel:
        panel()
        panel()
        assert shown == []
    assert shown == ["falls"]


def test_leak_curves_show_shares_against_distance():
    figure = plots.leak_curves({"honest": [0, 0.1, 0.5], "in chunks": [0.2, 0.4, 0.5]}, [100, 1000, 10_000], "Chunks leak")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log" and left_title(figure) == "Chunks leak"
    assert [list(line.get_ydata()) for line in axes.lines] == [[0, 10, 50], [20, 40, 50]]
    assert "honest" in texts(figure) and "in chunks" in texts(figure)


def test_strips_have_a_dot_for_each_value_and_tell_the_largest():
    figure = plots.strips({"people": [20, 12], "our model": [15, 19, 17]}, "Copies", "characters")
    axes = figure.axes[0]
    assert [(list(line.get_xdata()), set(line.get_ydata())) for line in axes.lines] == [([20, 12], {0}), ([15, 19, 17], {1})]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["people", "our model"] and axes.yaxis_inverted()
    assert [text.get_text() for text in axes.texts] == ["20", "19"] and left_title(figure) == "Copies"
