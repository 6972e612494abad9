"""Bugs that raise no error, each a switch that replaces one part of a healthy project. Shown in chapter 08.

    subject = healthy(seed=0)                                  # a small GPT on fifty plays
    run = train(BUGS["mask"].on(subject), steps=300)           # the same with a bug
    python -m gptcore.course.bugs                              # all of them, into data/bugs.csv

The parts of a project are those of `checkup.Subject`. What a run costs is not what it says of itself: `price` lets the
project's own sampler read texts that it has never seen, one token after the other.
"""

import argparse
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import nn
from tqdm import tqdm

from gptcore import corpora
from gptcore.attention import attention_weights
from gptcore.batches import IGNORE, Batches
from gptcore.course.checkup import Subject
from gptcore.device import choose_device
from gptcore.evaluation import Score, bits_per_byte, cross_entropy, paired_difference, token_nats
from gptcore.files import atomic_write
from gptcore.gpt import GPT, GPTConfig, evaluating
from gptcore.schedule import TrainConfig, learning_rate
from gptcore.tokenizer import BPETokenizer, encode_document
from gptcore.training import accumulate_gradients, decay_groups

__all__ = ["BUGS", "STEPS", "Bug", "Run", "costs", "exhibits", "healthy", "letters", "price", "train", "unseen"]

SCENES, STEPS, EVERY = 50, 300, 25      # plays that are read; steps of a run; how often it is looked at
BLOCK, WINDOWS, MICRO = 64, 6, 2        # tokens of a window, windows of a micro-batch, micro-batches of a step
EPOCH = 20                              # steps; the last one of an epoch has a single micro-batch left
PEAK, WARMUP, CLIP = 2e-2, 0.2, 0.3    # highest rate; share of the steps up to it; longest gradient

STORED, SEEDS = corpora.REPOSITORY_DATA / "bugs.csv", 4


@cache
def texts_of(corpus: str) -> tuple[list[str], list[str]]:
    """What a project reads, and what it never sees. A text without plays is cut between its paragraphs."""
    both = corpora.load(corpus)
    return tuple(texts if len(texts) > SCENES else paragraphs(texts) for texts in (both.train, both.validation))


def paragraphs(texts: Sequence[str], size: int = 800) -> list[str]:
    pieces = [""]
    for paragraph in "\n\n".join(texts)[:4 * SCENES * size].split("\n\n"):
        pieces[-1] += paragraph + "\n\n"
        if len(pieces[-1]) > size:
            pieces.append("")
    return pieces[:-1]


@cache
def tokenizer(corpus: str) -> BPETokenizer:
    return BPETokenizer.train(texts_of(corpus)[0][:SCENES], 512, progress=False)


def unseen(corpus: str = "playhouse", pieces: int = 80, size: int = 100) -> list[tuple[str, str]]:
    """Pieces of texts that no subject reads, from all parts of them, each with what stands before it in its text."""
    chosen = []
    for i, text in enumerate(texts_of(corpus)[1][:pieces]):
        begin = max(0, text.rfind(" ", 0, i % 7 * size + 1))  # before a word, where no token crosses
        chosen.append((text[:begin], text[begin:text.index(" ", begin + size)]))
    return chosen


def healthy(seed: int = 0, corpus: str = "playhouse") -> Subject:
    """A small GPT and all that belongs to it, made of gptcore's parts."""
    cutter, cpu = tokenizer(corpus), choose_device("cpu")
    config = GPTConfig(cutter.vocab_size, BLOCK, n_layer=2, n_head=4, n_embd=64, dropout=0.2, attention="explicit",
                       init="spread")

    def model():
        torch.manual_seed(seed)
        return GPT(config)

    def split(texts):
        cut = int(0.9 * len(texts))
        return texts[:cut], texts[cut:]

    def batches(documents, step):
        left = 1 if step % EPOCH == EPOCH - 1 else MICRO
        windows = Batches(documents, BLOCK, WINDOWS, seed)
        return [windows.batch(step, micro) for micro in range(left)]

    def schedule(step, steps, losses):
        return learning_rate(step, TrainConfig(steps, learning_rate=PEAK, warmup=int(WARMUP * steps)))

    def step(model, optimizer, micro_batches, rate):
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        loss, _ = accumulate_gradients(model, micro_batches, cpu)
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss.item()

    def evaluate(model, documents, others):
        return {"train": bits(model, documents[:10], cutter), "validation": bits(model, others[:10], cutter)}

    def predict(model, ids):
        with evaluating(model):
            return model(ids[:, -model.config.block_size:])[:, -1].softmax(dim=-1)

    return Subject(
        read=lambda: texts_of(corpus)[0][:SCENES],
        split=split,
        encode=partial(encode_document, cutter),
        decode=cutter.decode,
        batches=batches,
        model=model,
        blocks=lambda model: model.blocks,
        attend=lambda model: model.blocks[0].attention.attend,
        size=lambda model: sum(weight.nbytes for weight in model.parameters()),
        optimizer=lambda model: torch.optim.AdamW(decay_groups(model, 0.1), lr=PEAK),
        schedule=schedule,
        step=step,
        evaluate=evaluate,
        log=lambda step, tokens, seconds: {"step": step, "tokens_per_second": tokens / seconds},
        predict=predict,
        start=[cutter.end_of_text],
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def bits(model: nn.Module, documents: Sequence, cutter: BPETokenizer) -> float:
    """Bits per byte of documents of ids."""
    nats = sum(each.sum() for each in token_nats(model, documents))
    return nats / math.log(2) / sum(len(cutter.decode(ids).encode()) for ids in documents)


class Run(NamedTuple):
    """A trained model, what its project says of it while it trains, and the loss and the rate of each step."""

    model: nn.Module
    log: pd.DataFrame
    steps: pd.DataFrame


def train(subject: Subject, steps: int = STEPS, every: int = EVERY) -> Run:
    """Train what a subject describes, through its parts only. Random states are left as they were found."""
    train_texts, validation_texts = subject.split(subject.read())
    documents, others = ([subject.encode(text) for text in texts] for texts in (train_texts, validation_texts))
    with torch.random.fork_rng(devices=[]):
        model = subject.model()
        optimizer, rows, losses, rates = subject.optimizer(model), [], [], []
        tokens = seconds = 1
        for step in range(steps + 1):
            if step % every == 0 or step == steps:
                with torch.random.fork_rng(devices=[]):  # looking at a model does not change it
                    torch.manual_seed(step)
                    rows.append(subject.log(step, tokens, seconds) | subject.evaluate(model, documents, others))
            if step == steps:
                break
            began, micro_batches = time.perf_counter(), subject.batches(documents, step)
            rates.append(subject.schedule(step, steps, losses))
            losses.append(subject.step(model, optimizer, micro_batches, rates[-1]))
            tokens = sum(targets.numel() for _, targets in micro_batches)
            seconds = time.perf_counter() - began
    return Run(model, pd.DataFrame(rows), pd.DataFrame({"loss": losses, "rate": rates}))


def price(
    subject: Subject, model: nn.Module, pieces: Sequence[tuple[str, str]], context: int = BLOCK
) -> list[Float[np.ndarray, "_"]]:
    """What the project's sampler pays for each piece of text, in nats, given what stands before it.

    It reads one token after the other, with up to `context` tokens before it, as when it writes: whoever looks ahead has
    nothing to look at. One array per piece, with an entry for each byte, as `evaluation.bits_per_byte` wants it; all nats of
    the piece stand in the first.
    """
    nats, asked = [], {}  # length of a context -> the contexts, their next tokens, their pieces
    for i, (before, text) in enumerate(pieces):
        ids = [*subject.start, *subject.encode(before)[1:-1].tolist()]
        for token in subject.encode(text)[1:-1].tolist():
            known = ids[-context:]
            asked.setdefault(len(known), []).append((known, token, i))
            ids.append(token)
        nats.append(np.zeros(len(text.encode())))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for questions in asked.values():
            for part in (questions[i:i + 256] for i in range(0, len(questions), 256)):
                p = subject.predict(model, torch.tensor([known for known, _, _ in part]))             # (B, V)
                for given, (_, token, i) in zip(p, part):
                    nats[i][0] -= math.log(max(given[token].item(), 1e-30))
    return nats


@dataclass(frozen=True)
class Bug:
    """One part of a project, replaced: `make` gets the healthy subject and returns its new part `seam`.

    `found_by` names the checks that find it, first the one that says what it is.
    """

    title: str
    room: str
    seam: str
    make: Callable[[Subject], Any]
    found_by: tuple[str, ...]

    def on(self, subject: Subject) -> Subject:
        """The subject with this bug."""
        return replace(subject, **{self.seam: self.make(subject)})


# Data.

def read_twice(subject):
    return lambda: subject.read() * 2


def chunked(subject):
    def split(texts):
        text = "".join(texts)
        chunks = [text[i:i + 1000] for i in range(0, len(text), 1000)]
        return ["".join(chunk[:900] for chunk in chunks)], ["".join(chunk[900:] for chunk in chunks)]
    return split


def tails(subject):
    def split(texts):
        cuts = [int(0.9 * len(text)) for text in texts]
        return [text[:cut] for text, cut in zip(texts, cuts)], [text[cut:] for text, cut in zip(texts, cuts)]
    return split


def other_pattern(subject):
    plain = BPETokenizer(subject.encode.args[0].merges, pattern=r"\w+|\W")
    return lambda text: encode_document(plain, text)


# The model.

def with_attention(attend):
    def make(subject):
        def model():
            built = subject.model()
            for block in built.blocks:
                block.attention.attend = attend
            return built
        return model
    return make


def peeking(q, k, v, dropout=0.0):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    visible = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool).tril(1)
    return nn.functional.dropout(scores.masked_fill(~visible, -math.inf).softmax(dim=-1), dropout) @ v


def by_model_width(q, k, v, dropout=0.0):
    return nn.functional.dropout(attention_weights(q / math.sqrt(q.size(1)), k), dropout) @ v


def wrong_axis(q, k, v, dropout=0.0):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    visible = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool).tril()
    return nn.functional.dropout(scores.masked_fill(~visible, -math.inf).softmax(dim=-2), dropout) @ v


def norm_inside(subject):
    def forward(block, x, cache=None):
        x = block.norm_1(x)
        x = block.norm_2(x + block.attention(x, cache))
        return x + block.mlp(x)

    def model():
        built = subject.model()
        for block in built.blocks:
            block.forward = forward.__get__(block)
        return built
    return model


def no_positions(subject):
    def model():
        built = subject.model()
        built.position_embedding.weight.requires_grad_(False).zero_()
        return built
    return model


def with_masks(subject):
    def size(model):
        for block in model.blocks:
            for head in range(block.attention.n_head):
                block.register_buffer(f"mask_{head}", torch.ones(BLOCK, BLOCK).tril())
        return sum(each.nbytes for each in model.state_dict().values())
    return size


# The training.

def rate_late(subject):
    def step(model, optimizer, micro_batches, rate):
        now = optimizer.param_groups[0]["lr"]
        loss = subject.step(model, optimizer, micro_batches, now)
        set_rate(optimizer, rate)
        return loss
    return step


def cliff(subject):
    def schedule(step, steps, losses):
        end = steps - int(WARMUP * steps)  # how long the cosine is; but step counts the warm-up, too
        return subject.schedule(step, steps, losses) if step < end else PEAK / 10
    return schedule


def clip_each(subject):
    def step(model, optimizer, micro_batches, rate):
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        losses = []
        for inputs, targets in micro_batches:
            losses.append(cross_entropy(model(inputs), targets).sum() / (targets != IGNORE).sum() / len(micro_batches))
            losses[-1].backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return sum(losses).item()
    return step


def leftover(subject):
    def step(model, optimizer, micro_batches, rate):
        loss, _ = accumulate_gradients(model, micro_batches, choose_device("cpu"))
        if len(micro_batches) == MICRO:  # the last group of an epoch is too small for a step
            set_rate(optimizer, rate)
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()
    return step


def plateau(subject):
    def schedule(step, steps, losses):
        rate, best, since = PEAK, math.inf, 0
        for loss in losses:
            best, since = (loss, 0) if loss < best else (best, since + 1)
            if since > 5:
                rate, since = rate / 2, 0
        return rate
    return schedule


# The measuring.

def other_mode(subject):
    def evaluate(model, documents, others):
        nats, size = 0.0, 0
        for ids in documents[:10]:
            ids = torch.as_tensor(ids)[None]
            for i in range(0, ids.size(1) - 1, BLOCK):
                inputs, targets = ids[:, i:i + BLOCK][:, :ids.size(1) - 1 - i], ids[:, i + 1:i + 1 + BLOCK]
                nats += cross_entropy(model(inputs), targets).sum().item()
            size += len(subject.decode(ids[0].tolist()).encode())
        return subject.evaluate(model, documents, others) | {"train": nats / math.log(2) / size}
    return evaluate


def five_windows(subject):
    def evaluate(model, documents, others):
        chosen = [others[i] for i in torch.randint(len(others), (5,))]
        begin = [int(torch.randint(max(1, len(ids) - BLOCK), (1,))) for ids in chosen]
        windows = [ids[i:i + BLOCK + 1] for ids, i in zip(chosen, begin)]
        return subject.evaluate(model, documents, windows)
    return evaluate


def nats_per_token(subject):
    def evaluate(model, documents, others):
        return {name: float(np.concatenate(token_nats(model, texts[:10])).mean())
                for name, texts in (("train", documents), ("validation", others))}
    return evaluate


def evaluations(subject):
    return lambda step, tokens, seconds: subject.log(step, tokens, seconds) | {"step": step // EVERY}


def per_step(subject):
    return lambda step, tokens, seconds: subject.log(step, tokens, seconds) | {"tokens_per_second": tokens}


# The writing.

def dropping(subject):
    def predict(model, ids):
        model.train()
        with torch.no_grad():
            return model(ids[:, -model.config.block_size:])[:, -1].softmax(dim=-1)
    return predict


def zero(subject):
    return [0]


BUGS = {
    "twice": Bug("the file is read twice", "data", "read", read_twice, ("read once", "apart")),
    "seams": Bug("windows cross the seams of a chunked split", "data", "split", chunked, ("one text", "neighbours")),
    "tails": Bug("validation text stands next to training text", "data", "split", tails, ("neighbours",)),
    "pattern": Bug("the encoder lacks the pattern that its trainer had", "data", "encode", other_pattern, ("tokens",)),
    "mask": Bug("the mask is off by one", "model", "model", with_attention(peeking), ("future",)),
    "softmax": Bug("the softmax runs over the wrong axis", "model", "model", with_attention(wrong_axis),
                   ("sums", "future")),
    "scale": Bug("scores are divided by the root of the model's width", "model", "model",
                 with_attention(by_model_width), ("scale",)),
    "norm": Bug("the norm stands inside the stream", "model", "model", norm_inside, ("stream",)),
    "positions": Bug("no position is added", "model", "model", no_positions, ("positions",)),
    "late": Bug("the rate is set after the step", "training", "step", rate_late, ("first rate",)),
    "cliff": Bug("the cosine forgets the warm-up in its length", "training", "schedule", cliff, ("cliff",)),
    "clip": Bug("each micro-batch is clipped", "training", "step", clip_each, ("order",)),
    "leftover": Bug("gradients are left over from the end of an epoch", "training", "step", leftover, ("leftovers",)),
    "plateau": Bug("a plateau schedule reacts to noise", "training", "schedule", plateau, ("noise",)),
    "modes": Bug("training is measured with dropout, validation without", "measuring", "evaluate", other_mode, ("modes",)),
    "five": Bug("validation is five random windows", "measuring", "evaluate", five_windows, ("fixed",)),
    "nats": Bug("nats per token stand beside bits per byte", "measuring", "evaluate", nats_per_token, ("unit",)),
    "axis": Bug("the loss is plotted over the number of evaluations", "measuring", "log", evaluations, ("axis",)),
    "speed": Bug("tokens per step are shown as tokens per second", "measuring", "log", per_step, ("speed",)),
    "size": Bug("masks count as model size", "measuring", "size", with_masks, ("size",)),
    "dropout": Bug("dropout is on while sampling", "writing", "predict", dropping, ("predict twice",)),
    "start": Bug("the first token was never seen in training", "writing", "start", zero, ("start",)),
}


# What they look like, and what they cost.

def exhibits(room: str, path: Path = STORED) -> dict[str, pd.DataFrame]:
    """What projects with the bugs of a room say of themselves: logs under letters, the healthy one under its name."""
    table = pd.read_csv(path)
    logs = {bug: rows.set_index("step") for bug, rows in table[table["seed"] == 0].groupby("bug")}
    return {"healthy": logs["healthy"]} | {letter: logs[bug] for letter, bug in letters(room).items()}


def letters(room: str) -> dict[str, str]:
    """Which letter stands for which bug, in an order that tells nothing."""
    names = sorted(name for name, bug in BUGS.items() if bug.room == room)
    return dict(zip("ABCDEFGH", random.Random(room).sample(names, len(names))))


def costs(path: Path = STORED) -> dict[str, Score]:
    """Bits per byte that each bug costs, over the seeds that were measured; the error is that of texts and of seeds."""
    table = pd.read_csv(path).dropna(subset="cost")
    return {bug: Score(rows["cost"].mean(), math.hypot(rows["error"].mean(), rows["cost"].std() / math.sqrt(len(rows))))
            for bug, rows in table.groupby("bug", sort=False)}


def rows_of(bug: str, seed: int, run: Run, paid: list, healthy_paid: list) -> pd.DataFrame:
    """The log of a run; its last row also says what the model really costs, and how much more than the healthy one."""
    cost = paired_difference(paid, healthy_paid)
    last = {"price": bits_per_byte(paid).value, "cost": cost.value, "error": cost.error}
    table = run.log.drop(columns="tokens_per_second").assign(**dict.fromkeys(last, math.nan))
    table.loc[table.index[-1], list(last)] = list(last.values())
    table.insert(0, "bug", bug)
    table.insert(1, "seed", seed)
    return table.round(4)


def measure(path: Path = STORED, seeds: int = SEEDS, steps: int = STEPS) -> None:
    """Train every subject that `path` lacks, with several seeds, and write what it says of itself and what it costs."""
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["bug", "seed"])
    done, pieces = set(zip(table["bug"], table["seed"])), unseen()
    with tqdm(total=seeds * (len(BUGS) + 1), initial=len(done), unit="run") as bar:
        for seed in range(seeds):
            todo = [name for name in ("healthy", *BUGS) if (name, seed) not in done]
            if not todo:
                continue
            sound = healthy(seed)
            run = train(sound, steps)
            paid = price(sound, run.model, pieces)
            for name in todo:
                if name != "healthy":
                    ill = BUGS[name].on(sound)
                    run = train(ill, steps)
                mine = paid if name == "healthy" else price(ill, run.model, pieces)
                table = pd.concat([table, rows_of(name, seed, run, mine, paid)])
                with atomic_write(path) as temporary:
                    table.to_csv(temporary, index=False)
                bar.update()


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(prog="python -m gptcore.course.bugs", description=measure.__doc__)
    parser.add_argument("--out", type=Path, default=STORED, help="the file; rows that it holds are not measured anew")
    measure(parser.parse_args().out)
