"""How much text, how much model, how many tokens: what `make own-corpus` trains and chapter 10 draws.

    python -m tools.own_corpus     # about half an hour on one core; it may be stopped at any time and goes on where it was

data/corpus_sizes.csv: two widths of GPT on four amounts of the Playhouse, judged on the same held-out scenes, whose floor is
known. data/corpus_vocabularies.csv: one GPT on a small folder of texts, read as characters, as 2,000 tokens and as the
50,257 of GPT-2 (tiktoken fetches their table once). A row is a model at one evaluation.
"""

import argparse
import dataclasses
import math
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from gptcore import corpora
from gptcore.corpora import Corpus
from gptcore.experiment import make_tokenizer
from gptcore.files import atomic_write
from gptcore.gpt import GPT, GPTConfig
from gptcore.schedule import TrainConfig
from gptcore.tokenizer import encode_document
from gptcore.training import train
from tools import end

__all__ = ["PLAN", "Plan", "main"]

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs/own_corpus"


class Plan(NamedTuple):
    """What is trained: the defaults make the two tables, small ones a test."""

    scenes: tuple[int, ...] = (16, 64, 256, 1024)
    widths: tuple[int, ...] = (32, 96)
    sizes: TrainConfig = TrainConfig(steps=800, batch_size=8, learning_rate=2e-3, warmup=40, eval_every=40, eval_windows=100)
    tokenizer: str = "bpe:512"                                  # few enough for the smallest text
    folder: Path = ROOT / "data/repair_cafe"
    tokenizers: tuple[str, ...] = ("characters", "bpe:2000", "tiktoken:gpt2")
    passes: int = 20                                            # how often the folder is read, whatever the tokenizer
    vocabularies: TrainConfig = TrainConfig(steps=1, batch_size=4, warmup=0, eval_windows=200)
    rates: tuple[float, ...] = (1e-3, 8e-3)                     # each vocabulary has a rate that suits it
    block_size: int = 128
    n_embd: int = 64

    def config(self, n_embd: int) -> GPTConfig:
        """Two layers, heads 16 wide; the vocabulary is put in later."""
        return GPTConfig(1, block_size=self.block_size, n_layer=2, n_head=n_embd // 16, n_embd=n_embd, init="spread")


PLAN = Plan()


def trained(run: Path, corpus: Corpus, tokenizer: str, model: GPTConfig, config: TrainConfig,
            passes: int | None = None) -> pd.DataFrame:
    """Train in the folder `run`, or go on there; the losses in bits per byte, with what the model is and what it has read.

    With `passes` the steps are as many as it takes to read the text so often, with an evaluation after each pass.
    """
    made = make_tokenizer(tokenizer, corpus)
    documents, held_out = ([encode_document(made, text) for text in texts] for texts in (corpus.train, corpus.validation))
    tokens = sum(len(document) - 1 for document in documents)
    bytes_per_token = corpus.validation_bytes / sum(len(document) - 1 for document in held_out)
    train_bytes = sum(len(text.encode()) for text in corpus.train)
    if passes:
        each = max(1, round(tokens / (config.batch_size * model.block_size)))
        config = dataclasses.replace(config, steps=passes * each, eval_every=each, warmup=each)
    model = dataclasses.replace(model, vocab_size=made.vocab_size)
    torch.manual_seed(config.seed)
    gpt = GPT(model)
    train(gpt, documents, held_out, config, run, resume=True, bytes_per_token=bytes_per_token)
    log = pd.read_csv(run / "log.csv")
    return pd.DataFrame({
        "vocab_size": made.vocab_size, "parameters": sum(p.numel() for p in gpt.parameters()), "tokens_in_text": tokens,
        "step": log["step"], "passes": (log["tokens"] / tokens).round(3),
        "train_bits": (log["train_loss"] / math.log(2) * tokens / train_bytes).round(4),
        "val_bits": (log["val_loss"] / math.log(2) / bytes_per_token).round(4)})


def sizes(plan: Plan, runs: Path) -> pd.DataFrame:
    """The first table: amounts of text by widths of model."""
    whole, tables = corpora.load("playhouse"), []
    for scenes in plan.scenes:
        for width in plan.widths:
            print(f"{scenes} scenes, {width} wide", flush=True)
            part = Corpus(whole.name, whole.source, whole.train[:scenes], whole.validation)
            rows = trained(runs / f"{scenes}x{width}", part, plan.tokenizer, plan.config(width), plan.sizes)
            rows.insert(0, "scenes", scenes)
            rows.insert(1, "bytes", sum(len(text.encode()) for text in part.train))
            rows.insert(2, "n_embd", width)
            tables.append(rows)
    return pd.concat(tables)


def vocabularies(plan: Plan, runs: Path) -> pd.DataFrame:
    """The second table: one folder of texts in several vocabularies."""
    corpus, tables = corpora.load(plan.folder, encoding="cp1252"), []
    for name, rate in product(plan.tokenizers, plan.rates):
        print(f"{name}, at {rate:g}", flush=True)
        config = dataclasses.replace(plan.vocabularies, learning_rate=rate)
        run = runs / f"{name.replace(':', '-')}-{rate:g}"
        rows = trained(run, corpus, name, plan.config(plan.n_embd), config, plan.passes)
        rows.insert(0, "tokenizer", name)
        rows.insert(1, "learning_rate", rate)
        tables.append(rows)
    return pd.concat(tables)


def main(arguments: list[str] | None = None, plan: Plan = PLAN, runs: Path = RUNS, folder: Path = ROOT / "data") -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.own_corpus", description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="?", choices=("sizes", "vocabularies"), help="one table alone (both)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # as the notebooks are run; other numbers of threads round differently
    for make in (sizes, vocabularies):
        if options.what in (None, make.__name__):
            table = make(plan, runs)
            with atomic_write(folder / f"corpus_{make.__name__}.csv") as temporary:
                table.to_csv(temporary, index=False)
    return 0


if __name__ == "__main__":
    end(main)
