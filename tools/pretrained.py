"""The stored model, and smaller ones beside it: what `make pretrained` and `make sizes` train and judge.

    python -m tools.pretrained            # about an hour; then data/pretrained, and rows of data/judged.csv
    python -m tools.pretrained sizes      # smaller models on the same scenes, for the other rows of data/judged.csv

Everything may be stopped at any time and goes on where it was. The text is fresh: scenes that the corpus does not hold, read
about once each, so that nothing can be learned by heart.
"""

import argparse
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import gptcore
from gptcore import corpora, playhouse
from gptcore.checkpoint import State
from gptcore.device import choose_device, environment_report
from gptcore.evaluation import bits_per_byte, byte_nats
from gptcore.files import atomic_write
from gptcore.gpt import GPT, GPTConfig, count_parameters, load_weights, save_weights
from gptcore.ladder import floor, gap_by_kind, worth_by_kind
from gptcore.pretrained import PRETRAINED, judge_samples
from gptcore.schedule import TrainConfig
from gptcore.tokenizer import GPT2_PATTERN, BPETokenizer, encode_document, load_tokenizer
from gptcore.training import train
from tools import end

ROOT = Path(__file__).parents[1]
JUDGED, RUNS = ROOT / "data/judged.csv", ROOT / "runs/pretrained"


class Plan(NamedTuple):
    """What is trained and judged; the defaults make the stored model, small ones a test."""

    vocab_size: int = 8192              # more than the pairs of the text give
    learn_from: int = 8000              # scenes that the tokenizer sees
    scenes: int = 104_000               # to train on: as many as are read
    train: TrainConfig = TrainConfig(steps=13_000, batch_size=8, learning_rate=1e-3, min_learning_rate=0.0, warmup=100,
                                     optimizer="muon", weight_decay=0.1, eval_every=250, eval_windows=1000)
    shape: tuple[int, int] = (4, 128)   # n_layer, n_embd
    looks: tuple[int, ...] = (250, 500, 1000, 2000, 4000, 8000)  # steps whose weights are kept, to be judged beside the last
    small: tuple[tuple[int, int], ...] = ((1, 16), (1, 32), (1, 64), (2, 128), (4, 128))
    small_steps: int = 1000
    small_rate: float = 2e-3            # in few steps a higher rate gets further
    judged: int = 64                    # scenes that each model writes

    def config(self, shape: tuple[int, int], vocab_size: int) -> GPTConfig:
        """The model of a shape: heads 32 channels wide, a block that holds a whole scene."""
        n_layer, n_embd = shape
        return GPTConfig(vocab_size, block_size=256, n_layer=n_layer, n_head=max(1, n_embd // 32), n_embd=n_embd,
                         init="spread")


PLAN = Plan()


class Text:
    """The scenes of a plan: the tokenizer learns from the first of them, the models train on all."""

    def __init__(self, plan: Plan, runs: Path):
        self.plan, path = plan, runs / "tokenizer.json"
        if not path.exists():
            BPETokenizer.train(map(playhouse.write, self.seeds[:plan.learn_from]), plan.vocab_size, GPT2_PATTERN).save(path)
        self.tokenizer = load_tokenizer(path)
        self.corpus = corpora.load("playhouse")
        self.validation = [encode_document(self.tokenizer, text) for text in self.corpus.validation]

    @property
    def seeds(self) -> range:
        return range(playhouse.SCENES, playhouse.SCENES + self.plan.scenes)

    @cached_property
    def train(self) -> list[np.ndarray]:
        return [encode_document(self.tokenizer, playhouse.write(seed)) for seed in tqdm(self.seeds, "writing", unit="scene")]


def fit(text: Text, shape: tuple[int, int], config: TrainConfig, run: Path, looks: Sequence[int] = ()) -> None:
    """Train a model in the folder `run`, or go on with it; the weights of some steps are kept as STEP.safetensors."""
    def keep(model: GPT, state: State) -> None:
        if state.step in looks or state.step == config.steps:
            save_weights(model, kept(run, state.step))

    if not kept(run, config.steps).exists():
        print(f"{shape[0]} layers, {shape[1]} wide")
        torch.manual_seed(config.seed)
        train(GPT(text.plan.config(shape, text.tokenizer.vocab_size)), text.train, text.validation, config, run, resume=True,
              bytes_per_token=text.corpus.validation_bytes / sum(len(each) - 1 for each in text.validation),
              after_evaluation=keep)


def kept(run: Path, step: int) -> Path:
    return run / "kept" / f"{step}.safetensors"


def judge_all(text: Text, models: Mapping[tuple[str, int], Path], log: Path) -> None:
    """Judge what the log lacks, by series and step; each row is written as soon as it is there."""
    for (series, step), run in models.items():
        rows = pd.read_csv(log).to_dict("records") if log.exists() else []
        if any((row["series"], row["step"]) == (series, step) for row in rows):
            continue
        model = load_weights(kept(run, step)).eval()
        score = bits_per_byte(byte_nats(model, text.validation, text.tokenizer))
        verdict = judge_samples(model, text.tokenizer, text.plan.judged, progress=True)
        row = {
            "series": series, "n_layer": model.config.n_layer, "n_embd": model.config.n_embd,
            "parameters": sum(count_parameters(model.config).values()), "step": step,
            "tokens": int(pd.read_csv(run / "log.csv").set_index("step")["tokens"][step]),
            "bits_per_byte": round(score.value, 4), "error": round(score.error, 4), "scenes": text.plan.judged,
            **{f"{kind} {name}": counts[kind] for kind in playhouse.KINDS
               for name, counts in (("right", verdict.right), ("asked", verdict.asked))}}
        print(f"{series}, step {step}: {score} bits per byte\n{verdict}", flush=True)
        with atomic_write(log) as temporary:
            pd.DataFrame([*rows, row]).to_csv(temporary, index=False)


def store(text: Text, run: Path, folder: Path) -> None:
    """Write weights, tokenizer and log of a run into `folder`, and about.json with what they are and what they measure."""
    best = {"weights.safetensors": run / "best.safetensors", "tokenizer.json": run.parent / "tokenizer.json",
            "log.csv": run / "log.csv"}
    for name, path in best.items():
        with atomic_write(folder / name) as temporary:
            shutil.copyfile(path, temporary)
    nats = byte_nats(load_weights(best["weights.safetensors"]), text.validation, text.tokenizer)
    derivations, log = floor(text.corpus.validation), pd.read_csv(run / "log.csv")
    score, lowest = bits_per_byte(nats), bits_per_byte([derivation.nats for derivation in derivations])
    gap = gap_by_kind(nats, derivations).assign(worth=worth_by_kind(text.corpus.validation))
    about = {
        "command": "make pretrained",
        "text": f"{len(text.seeds)} scenes, seeds {text.seeds.start} to {text.seeds.stop - 1}",
        "tokens": int(log["tokens"].iloc[-1]),
        "minutes": round(float((log["tokens"].diff() / log["tokens_per_second"]).sum()) / 60, 1),
        "bits_per_byte": round(score.value, 5), "error": round(score.error, 5),
        "floor": round(lowest.value, 5), "above_floor": round(score.value / lowest.value - 1, 4),
        "gap": gap.round(5).to_dict("index"),
        "machine": {"gptcore": gptcore.__version__} | environment_report(choose_device("cpu")),
        "settings": json.loads((run / "config.json").read_text(encoding="utf-8")) | {"machine": None},
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in best},
        "sources_sha256": sources_hash(),
    }
    with atomic_write(folder / "about.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def sources_hash(folder: Path = ROOT / "gptcore") -> str:
    """sha256 over the names and the bytes of all of gptcore's sources, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def main(arguments: list[str] | None = None, plan: Plan = PLAN, runs: Path = RUNS, folder: Path = PRETRAINED,
         log: Path = JUDGED) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.pretrained", description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="?", choices=("stored", "sizes"), default="stored", help="which models (stored)")
    options = parser.parse_args(arguments)
    text, models = Text(plan, runs), {}
    if options.what == "stored":
        run, looks = runs / "stored", [*plan.looks, plan.train.steps]
        fit(text, plan.shape, plan.train, run, looks)
        store(text, run, folder)
        models = {("steps", step): run for step in looks}
    else:
        config = dataclasses.replace(plan.train, steps=plan.small_steps, learning_rate=plan.small_rate)
        for shape in plan.small:
            run = runs / "x".join(map(str, shape))
            fit(text, shape, config, run)
            models[f"size {run.name}", config.steps] = run
    judge_all(text, models, log)
    return 0


if __name__ == "__main__":
    end(main)
