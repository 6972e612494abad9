"""The benchmark runs, and its page holds a table that it printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def run(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "GPTCORE_DATA"}
    return subprocess.run([sys.executable, ROOT / "benchmarks" / "tokenizer.py", *arguments], capture_output=True, text=True,
                          env=environment)


@pytest.fixture(scope="module")
def printed():
    done = run("--quick")
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    tasks = {(task.split(",")[0], name) for task, name, *_ in ROW.findall(printed)}
    assert tasks <= {(task.split(",")[0], name) for task, name, *_ in ROW.findall(page)}
    medians = {(task, name): float(seconds) for task, name, seconds, _ in ROW.findall(page)}
    for task, name, seconds, ratio in ROW.findall(page):
        own = medians[task, "gptcore"]
        assert abs(float(seconds) / own - float(ratio)) < 0.02 + 0.01 / own * float(ratio), (task, name)


def test_a_folder_of_books_is_repeated_and_read_whatever_its_encoding(tmp_path):
    (tmp_path / "a.txt").write_bytes("Ein Café.\n".encode("latin-1") * 100)
    (tmp_path / "b.txt").write_bytes("Ein Café.\n".encode() * 100)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import tokenizer as benchmark
    finally:
        sys.path.pop(0)
    documents = benchmark.read(tmp_path, 2500)
    assert [len(text) for text in documents] == [1000, 1000, 500] and documents[0] == documents[1]
    with pytest.raises(SystemExit, match=r"holds no \.txt file"):
        benchmark.read(tmp_path / "none", 10)
