"""The benchmarks run, and their page holds the tables that they printed."""

import dataclasses
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
# task, contender, tokens per second, times as long as gptcore, and the lowest and the highest of that in single rounds
GPT_ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", re.MULTILINE)
THERE = bool(find_spec("transformers"))


def run(file, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "GPTCORE_DATA"}
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / file, *arguments], capture_output=True, text=True,
                          env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(name):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def printed():
    return run("tokenizer.py", "--quick")


@pytest.fixture(scope="module")
def gpt_printed():
    return run("gpt.py", "--quick", "--threads", "1")


@pytest.fixture(scope="module")
def gpt():
    return imported("gpt")


def test_every_contender_runs_and_ratios_are_those_of_the_medians(printed):
    rows = ROW.findall(printed)
    assert {(task, name) for task, name, *_ in rows} >= {
        ("training", "gptcore"), ("training", "tokenizers"), ("encoding", "gptcore"), ("encoding", "tiktoken"),
        ("encoding", "tokenizers, encode"), ("encoding", "tokenizers, encode_batch of the documents"),
        ("500 tokens without a pattern, 1.1 MB", "gptcore")}
    assert {ratio for _, name, _, ratio in rows if name == "gptcore"} == {"1.00"}
    assert re.search(r"^Machine: \d+ cores of .*Python 3\.\d+.*load [\d.]+ before$", printed, re.MULTILINE)
    assert "documents (the Playhouse); median of 2 rounds" in printed and re.search(r"\| 125,000 \| \d", printed)


def test_the_page_holds_what_the_benchmark_prints(printed):
    tasks = {(task.split(",")[0], name) for task, name, *_ in ROW.findall(printed)}
    assert tasks <= {(task.split(",")[0], name) for task, name, *_ in ROW.findall(PAGE)}
    medians = {(task, name): float(seconds) for task, name, seconds, _ in ROW.findall(PAGE)}
    for task, name, seconds, ratio in ROW.findall(PAGE):
        own = medians[task, "gptcore"]
        assert abs(float(seconds) / own - float(ratio)) < 0.02 + 0.01 / own * float(ratio), (task, name)


def test_a_folder_of_books_is_repeated_and_read_whatever_its_encoding(tmp_path):
    (tmp_path / "a.txt").write_bytes("Ein Café.\n".encode("latin-1") * 100)
    (tmp_path / "b.txt").write_bytes("Ein Café.\n".encode() * 100)
    benchmark = imported("tokenizer")
    documents = benchmark.read(tmp_path, 2500)
    assert [len(text) for text in documents] == [1000, 1000, 500] and documents[0] == documents[1]
    with pytest.raises(SystemExit, match=r"holds no \.txt file"):
        benchmark.read(tmp_path / "none", 10)


# --- scale ------------------------------------------------------------------------------------------------------------

def test_shards_are_written_and_read_in_the_scale_benchmark():
    """The lines that it prints; what they measure decides nothing here."""
    printed = run("scale.py", "tokenizing", "batches", "memory", "--quick")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \| (\w*) ?\|$", printed, re.MULTILINE)[1:]
    assert [(name.split(",")[0].split(" from")[0], bar) for name, _, bar, _ in rows] == [
        ("tokenizing 1 MB", ""), ("tokenizing 1 MB", "3 MB/s"), ("batches of 64 windows of 256", "20 M tokens/s"),
        ("batches of 16 windows of 1024", "20 M tokens/s"), ("memory for 2 MB and for 4 MB", "at most 20 MB more"),
        ("memory for 2 MB and for 4 MB", "at most 20 MB more")]
    assert all(re.search(r"\d M?B?", measured) for _, measured, *_ in rows) and {verdict for *_, verdict in rows} == {""}


# --- the GPT ----------------------------------------------------------------------------------------------------------

def test_training_and_generation_are_timed_and_ratios_are_those_of_the_medians(gpt_printed):
    rows = GPT_ROW.findall(gpt_printed)
    training, generation = ["gptcore"], ["gptcore", "gptcore, no cache"]
    if THERE:
        training += ["transformers", "transformers, our loss", "transformers, fused GELU"]
        generation += ["transformers"]
    assert [(task, name) for task, name, *_ in rows] == [
        *(("training 1 layer of 8, 2 windows of 32", name) for name in training),
        *((f"generating {length} tokens", name) for length in (4, 31) for name in generation)]
    consistent(rows)
    assert re.search(r"^Machine: \d+ cores of .*, torch 2\S+.*, 1 threads; load [\d.]+ before$", gpt_printed, re.MULTILINE)
    assert "Median of 2 rounds" in gpt_printed and ("pip install transformers" in gpt_printed) != THERE
    assert bool(re.search(r"Logits of 1 layer of 8: \de-\d\d apart at most", gpt_printed)) == THERE


def consistent(rows):
    own = {task: float(speed.replace(",", "")) for task, name, speed, *_ in rows if name == "gptcore"}
    for task, name, speed, ratio, low, high in rows:
        speed, ratio = float(speed.replace(",", "")), float(ratio)
        assert own[task] / speed == pytest.approx(ratio, abs=0.006 + ratio / speed + ratio / own[task]), (task, name)
        assert float(low) <= float(high) and (name != "gptcore" or low == high == f"{ratio:.2f}" == "1.00")


def test_the_page_holds_the_whole_table_of_the_gpt_and_its_picture(gpt):
    rows = GPT_ROW.findall(PAGE)
    trained = [f"training {name}, {size} windows of {config.block_size}" for name, (config, size) in gpt.TRAINED.items()]
    assert {task for task, *_ in rows} == {*trained, *(f"generating {length} tokens" for length in gpt.LENGTHS)}
    assert {"gptcore", "gptcore, no cache", "transformers"} <= {name for _, name, *_ in rows}
    consistent(rows)
    alt, file = re.search(r"!\[(.*?)\]\((.*?generation_speed\.png)\)", PAGE, re.DOTALL).groups()
    assert len(alt) > 40 and (ROOT / "benchmarks" / file).is_file()


@pytest.mark.parametrize("difference", [2e-5, float("nan")])
def test_models_that_differ_are_not_timed(gpt, difference):
    logits = torch.zeros(1, 2, 3)
    assert gpt.largest_difference(logits, logits + 0.9e-5) <= 1e-5
    with pytest.raises(SystemExit, match="nothing is timed"):
        gpt.largest_difference(logits, logits + torch.tensor([0, 0, difference]))
    with pytest.raises(SystemExit, match="transformers writes other ids"):
        gpt.refuse_other_ids({"gptcore": [1, 2], "gptcore, no cache": [1, 2], "transformers": [1, 3]})


def test_the_same_weights_give_the_same_logits(gpt):
    pytest.importorskip("transformers")
    config = gpt.QUICK["trained"]["1 layer of 8"][0]
    gpt.compare_logits("small", dataclasses.replace(config, n_layer=2))
    model = gpt.lively(config)
    theirs = gpt.as_transformers(model)
    with torch.no_grad():
        theirs.transformer.h[0].mlp.c_fc.bias += 0.01                       # one fault, far from the output
    with pytest.raises(SystemExit, match="nothing is timed"):
        gpt.largest_difference(model(gpt.some_ids(config, 2)), theirs(gpt.some_ids(config, 2)).logits)


def test_the_picture_shows_both_ratios_over_the_length(gpt, tmp_path, monkeypatch):
    drawn, curves = [], gpt.plots.curves
    monkeypatch.setattr(gpt.plots, "FIGURES", tmp_path)
    monkeypatch.setattr(gpt.plots, "curves", lambda *arguments, **options: drawn.append(arguments) or curves(
        *arguments, **options))
    path = gpt.draw([16, 255], [{"gptcore": 1.0, "gptcore, no cache": 2.0, "transformers": 1.5},
                                {"gptcore": 1.0, "gptcore, no cache": 7.0, "transformers": 1.4}])
    (lengths, ys, title, *_), = drawn
    assert path == tmp_path / "generation_speed.png" and path.is_file()
    assert lengths == [16, 255] and list(ys.values()) == [[2.0, 7.0], [1.5, 1.4]] and "7.0 times" in title


# --- quantization -----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def quantization_printed():
    return run("quantization.py", "--quick", "--threads", "1")


def cells(text):
    """The rows of the first table, by scheme and kernels."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    head, rows = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    return {(row[0], row[1], row[2]): dict(zip(head[3:], row[3:])) for row in rows}


def test_every_scheme_is_measured_beside_fp32(quantization_printed):
    from gptcore.quantization import SCHEMES

    rows = cells(quantization_printed)
    assert [(model, scheme) for model, scheme, _ in rows] == [("32 wide", name) for name in ["fp32", *SCHEMES, "int8"]]
    keys = ("fp32", "none"), ("int4", "widened"), ("int4-gptq", "widened")
    full, plain, fitted = (rows["32 wide", *key] for key in keys)
    assert full["times fewer bytes"] == full["times fp32"] == "1.00" and full["error of the weights"] == "0.0000"
    assert plain["times fewer bytes"] == fitted["times fewer bytes"] and 5 < float(plain["times fewer bytes"]) < 7
    # Calibration moves weights further from where they were, since it looks at what comes out instead.
    assert 0.05 < float(plain["error of the weights"]) < float(fitted["error of the weights"])
    assert all(float(row["tokens/s, one text"].replace(",", "")) > 0 for row in rows.values())


def test_the_peak_counts_what_is_made_beside_the_weights():
    benchmark = imported("quantization")
    material = benchmark.small()
    full, small = (benchmark.peak(model) for model in (material.model, benchmark.quantize(material.model, "int8")))
    assert 0 < full - 4 * sum(parameter.numel() for parameter in material.model.parameters()) / 2**20 < 0.1
    assert 0 < small
