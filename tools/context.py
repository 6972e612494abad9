"""What more context buys, to a network and to counting: what `make context` measures and chapter 02 draws.

Each network has the same sizes and the same number of steps but for the tokens that it sees; each n-gram sees as many.
The settings are those of the rung `MLP`, which chapter 02 trains anew and holds to its row. Two networks with eight tokens
are trained longer: one on the corpus, one on scenes that never come again, which says what the first one lacks.
"""

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gptcore import corpora, playhouse
from gptcore.batches import Batches
from gptcore.evaluation import Score, bits_per_byte, cross_entropy, token_nats
from gptcore.files import atomic_write
from gptcore.ladder import counting_rungs
from gptcore.mlp import MLPConfig, MLPModel
from gptcore.tokenizer import CharTokenizer

__all__ = ["RUNS", "Run", "main", "measure"]

FILE = Path(__file__).parents[1] / "data/context.csv"
MOST_COUNTED = 8  # longer contexts take gigabytes to count
# Seeds of no scene in the corpus: 21 million characters, as many as 20,000 steps read.
FRESH = range(playhouse.SCENES, playhouse.SCENES + 27_000)


class Run(NamedTuple):
    """A network to be trained: the tokens it sees, its steps, and whether it reads fresh scenes instead of the corpus."""

    context: int
    steps: int
    fresh: bool = False


RUNS = [*(Run(context, 3000) for context in (1, 2, 3, 4, 6, 8, 12, 16)), Run(8, 20_000), Run(8, 20_000, fresh=True)]


def train(corpus: corpora.Corpus, run: Run, n_embd: int = 48, n_hidden: int = 768, rate: float = 6e-3) -> Score:
    """Train a network as chapter 02 does, and measure it on the validation text."""
    texts = [playhouse.write(seed) for seed in FRESH] if run.fresh else corpus.train
    tokenizer = CharTokenizer.train(corpus.train + corpus.validation)
    documents, judged = ([np.array([tokenizer.end_of_text, *tokenizer.encode(text)]) for text in texts]
                         for texts in (texts, corpus.validation))
    torch.manual_seed(0)
    model = MLPModel(MLPConfig(tokenizer.vocab_size, run.context, n_embd, n_hidden, block_size=64))
    batches = Batches(documents, block_size=64, batch_size=16, seed=0)
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(run.steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / run.steps)
        inputs, targets = batches.batch(step)
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).mean().backward()
        optimizer.step()
    return bits_per_byte(token_nats(model, judged))


def measure(corpus: corpora.Corpus, runs: Sequence[Run] = RUNS, most_counted: int = MOST_COUNTED, **sizes) -> list[dict]:
    """One row for each n-gram and each network: the text, the tokens it sees, its steps, bits per byte and their error."""
    orders = {f"{context + 1}-gram": context + 1 for context in range(most_counted + 1)}
    counted = counting_rungs(corpus.train, corpus.validation, orders)
    scores = [("n-gram", Run(orders[name] - 1, 0), bits_per_byte(nats)) for name, nats in counted.items()]
    for run in runs:
        scores.append(("MLP", run, train(corpus, run, **sizes)))
        print(f"{run}: {scores[-1][-1]}", flush=True)
    return [{"model": model, "text": "fresh" if run.fresh else "corpus", "context": run.context, "steps": run.steps,
             "bits per byte": f"{score.value:.4f}", "error": f"{score.error:.4f}"} for model, run, score in scores]


def main(path: Path = FILE) -> int:
    torch.set_num_threads(1)  # as the notebooks are run; other numbers of threads round differently
    rows = measure(corpora.load("playhouse"))
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
