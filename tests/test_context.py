"""What `make context` measures, on a corpus that takes a second."""
import csv

import pytest

from gptcore import playhouse
from gptcore.corpora import Corpus
from gptcore.evaluation import bits_per_byte
from gptcore.ladder import counting_rungs
from tools import context

SCENES = [playhouse.write(seed) for seed in range(40)]
TINY = Corpus("tiny", "memory", SCENES[:30], SCENES[30:])


def test_one_row_for_each_model_and_the_counted_ones_are_the_ladders(monkeypatch):
    monkeypatch.setattr(context, "FRESH", range(10))
    runs = [context.Run(1, 30), context.Run(3, 30), context.Run(3, 30, fresh=True)]
    rows = context.measure(TINY, runs, most_counted=2, n_embd=4, n_hidden=8, rate=0.03)
    assert [(row["model"], row["text"], row["context"], row["steps"]) for row in rows] == [
        ("n-gram", "corpus", 0, 0), ("n-gram", "corpus", 1, 0), ("n-gram", "corpus", 2, 0),
        ("MLP", "corpus", 1, 30), ("MLP", "corpus", 3, 30), ("MLP", "fresh", 3, 30)]
    for row, nats in zip(rows, counting_rungs(TINY.train, TINY.validation, {"1": 1, "2": 2, "3": 3}).values()):
        assert float(row["bits per byte"]) == pytest.approx(bits_per_byte(nats).value, abs=1e-4)
    assert len({row["bits per byte"] for row in rows}) == 6
    assert all(float(row["bits per byte"]) < 6 for row in rows)


def test_the_stored_log_is_of_these_runs():
    with context.FILE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stored = [(row["text"], int(row["context"]), int(row["steps"])) for row in rows if row["model"] == "MLP"]
    assert stored == [("fresh" if run.fresh else "corpus", run.context, run.steps) for run in context.RUNS]
    counted = [int(row["context"]) for row in rows if row["model"] == "n-gram"]
    assert counted == list(range(context.MOST_COUNTED + 1))
