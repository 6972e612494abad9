"""Is a project sound? Tests for bugs that raise no error, each the shortest that finds its own. From chapter 08.

    print(checkup(Subject(model=MyModel, evaluate=my_evaluate)))

A check sees only what a project's parts do: it knows no names, no classes and no cause. Whatever the subject has None for
is skipped. One bug may be seen by several checks; each finding is true as it stands.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from gptcore.gpt import evaluating

__all__ = ["CHECKS", "Check", "Subject", "checkup"]


@dataclass(frozen=True)
class Subject:
    """The parts of a project, each a function of what stands before the arrow; None for what it does not have.

    A document is a text, or a sequence of ids, from the sign that begins it to the one that ends it, if there are such
    signs. A micro-batch is a pair (inputs, targets) of ids (B, T). `blocks` and `attend` only say where to look.
    """

    read: Callable | None = None        # () -> the texts
    split: Callable | None = None       # texts -> those to learn from, those to judge by
    encode: Callable | None = None      # text -> ids of the document
    decode: Callable | None = None      # ids -> text; signs that stand for no text are left out
    batches: Callable | None = None     # documents of ids, step -> list of micro-batches
    model: Callable | None = None       # () -> a new torch module: ids (B, T) -> scores (B, T, V)
    blocks: Callable | None = None      # model -> its blocks, modules: stream (B, T, C) -> stream (B, T, C)
    attend: Callable | None = None      # model -> its attention: q, k, v, each (B, H, T, D) -> mixture (B, H, T, D)
    size: Callable | None = None        # model -> bytes of its weights
    optimizer: Callable | None = None   # model -> a torch optimizer
    schedule: Callable | None = None    # step, steps in all, losses of the steps so far -> learning rate
    step: Callable | None = None        # model, optimizer, micro-batches, rate -> loss
    evaluate: Callable | None = None    # model, documents, others -> {"train": ..., "validation": ...} in bits per byte
    log: Callable | None = None         # step, tokens in it, seconds that it took -> {"step": ..., "tokens_per_second": ...}
    predict: Callable | None = None     # model, ids (B, T) -> the sampler's probabilities of the next token (B, V)
    start: Sequence[int] | None = None  # the ids with which the sampler begins


@dataclass(frozen=True)
class Check:
    """A question to a subject: `find` returns what is wrong, or nothing."""

    question: str
    needs: tuple[str, ...]
    find: Callable[[Subject], str | None]

    def __call__(self, subject: Subject) -> tuple[str, str]:
        """A verdict (ok, FAILS, skipped or an error) and what is to be said of it."""
        if missing := [name for name in self.needs if getattr(subject, name) is None]:
            return "skipped", f"the subject has no {' and no '.join(missing)}"
        with seeded():
            try:
                found = self.find(subject)
            except Exception as error:
                return "error", f"{type(error).__name__}: {error}"
        return ("FAILS", found) if found else ("ok", "")


CHECKS: dict[str, Check] = {}


def checkup(subject: Subject) -> pd.DataFrame:
    """Ask every check: a table with the columns `verdict` and `finding`, a row for each."""
    rows = {name: check(subject) for name, check in CHECKS.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["verdict", "finding"])


def check(question: str, *needs: str) -> Callable[[Callable], Callable]:
    """Put a function into CHECKS, under its name."""
    def register(find: Callable[[Subject], str | None]) -> Callable:
        CHECKS[find.__name__.replace("_", " ").strip()] = Check(question, needs, find)
        return find
    return register


# The text.

@check("Does no text come twice?", "read")
def read_once(subject):
    everything = "\0".join(subject.read())
    again = [piece in everything[everything.find(piece) + 1:] for piece in pieces(everything)]
    if again and np.mean(again) > 0.05:
        return f"{np.mean(again):.0%} of all pieces of 60 characters come more than once"


@check("Is nothing that is judged by also learned from?", "read", "split")
def apart(subject):
    train, validation = map("\0".join, subject.split(subject.read()))
    known = [piece in train for piece in pieces(validation)]
    if known and np.mean(known) > 0.02:
        return f"{np.mean(known):.0%} of the validation text, in pieces of 60 characters, is training text, too"


@check("Does validation text not continue training text?", "read", "split")
def neighbours(subject):
    texts = subject.read()
    train, validation = map("\0".join, subject.split(texts))
    everything, near = "\0".join(texts), []
    for piece in pieces(validation):
        if piece not in train and (at := everything.find(piece)) >= 0:
            before = everything[max(0, at - 100):at][:60]
            near.append(len(before) == 60 and before in train)
    if near and np.mean(near) > 0.05:
        return f"{np.mean(near):.0%} of it stands within 100 characters after training text"


@check("Is every window a piece of one text?", "read", "split", "encode", "decode", "batches")
def one_text(subject):
    texts = subject.read()
    documents = [subject.encode(text) for text in subject.split(texts)[0]]
    everything, windows = "\0".join(texts), []
    for step in range(4):
        for inputs, targets in subject.batches(documents, step):
            windows += [row[:count].tolist() for row, count in zip(inputs, (targets >= 0).sum(dim=1))]
    foreign = [subject.decode(ids) not in everything for ids in windows]
    if any(foreign):
        return f"{np.mean(foreign):.0%} of the training windows stand in no text"


@check("Does each token come back as itself?", "encode", "decode", "model")
def tokens(subject):
    V = vocabulary(subject.model())
    lost = []
    for token in range(0, V, max(1, V // 1000)):
        text = subject.decode([token])
        if text and "\ufffd" not in text:
            lost.append(token not in list(subject.encode(text)))
    if lost and np.mean(lost) > 0.05:
        return f"the encoder can never write {np.mean(lost):.0%} of the tokens"


# The model.

@check("Does a token leave all scores before it alone?", "model")
def future(subject):
    model = twins(subject)[0]
    ids = some_ids(model)
    other = ids.clone()
    other[:, 8] = (ids[:, 8] + 1) % vocabulary(model)
    with evaluating(model):
        before, after = (same_noise(model, x)[:, :8] for x in (ids, other))
    if changed(before, after):
        return "a token changes the scores that stand before it"


@check("Do the weights of each position add up to 1?", "model", "attend")
def sums(subject):
    model = subject.model()
    q, k = torch.randn(2, 1, 4, 6, 16, device=place(model))
    total = subject.attend(model)(q, k, torch.ones_like(q))
    if not torch.allclose(total, torch.ones_like(total), atol=1e-4):
        return f"they add up to {total.min():.2f} and to {total.max():.2f}: is the softmax over the wrong axis?"


@check("Are scores divided by the root of the head's width?", "model", "attend")
def scale(subject):
    model, D = subject.model(), 16
    attend, q = subject.attend(model), torch.ones(1, 4, 2, D, device=place(model))
    k, v = q.clone(), q.clone()
    k[:, :, 0] *= math.log(3) / math.sqrt(D)  # divided by sqrt(D), three times the weight of the other
    k[:, :, 1] = v[:, :, 1] = 0
    found = attend(q, k, v)[0, 0, 1, 0].item()
    adds_up = math.isclose(attend(q, k, torch.ones_like(v))[0, 0, 1, 0], 1, abs_tol=1e-4)
    if adds_up and not math.isclose(found, 0.75, abs_tol=1e-3):
        factor = math.log(found / (1 - found)) / math.log(3) if 0 < found < 1 else math.inf
        return f"scores are {factor:.2g} times what they would be if divided by the root of the head's width"


@check("Is what enters a block still there when it leaves?", "model", "blocks")
def stream(subject):
    block, x = first_stream(subject)
    kept = block(1000 * x)
    if (kept - 1000 * x).norm() > 0.5 * (1000 * x).norm():
        return "a block does not add to the stream, it replaces it: is a norm inside?"


@check("Does the model know where a token stands?", "model", "blocks")
def positions(subject):
    model = subject.model()
    with evaluating(model):
        scores = model(some_ids(model)[:, :1].repeat(1, 12))             # one token again and again
        block, x = first_stream(subject)
        knows_order = changed(block(x)[:, -1], block(torch.cat([x[:, :-1].flip(1), x[:, -1:]], dim=1))[:, -1])
    if not changed(scores[:, :1], scores) and not knows_order:
        return "the same token has the same scores wherever it stands, and a block does not see the order either"


@check("Does the size count weights only?", "model", "size")
def size(subject):
    model = subject.model()
    before = subject.size(model)
    model.register_buffer("hung_on_by_checkup", torch.zeros(10_000))
    if subject.size(model) != before:
        return "a buffer, such as a mask, counts as weights"
    weights = sum(weight.nbytes for weight in model.parameters())
    if not 0.99 < before / weights < 1.01:
        return f"{before:,} bytes, but the weights have {weights:,}"


# The training.

@check("Does a step at rate 0 change nothing?", "model", "step")
def first_rate(subject):
    model = subject.model()
    before = flat(model)
    subject.step(model, torch.optim.SGD(model.parameters(), lr=1.0), some_batches(model), 0.0)
    if changed(before, flat(model)):
        return "it does: the rate of a step comes too late for it"


@check("Does the order of the micro-batches not matter?", "model", "step")
def order(subject):
    model, other = twins(subject)
    batches = some_batches(model)
    for each, given in ((model, batches), (other, batches[::-1])):
        subject.step(each, torch.optim.SGD(each.parameters(), lr=1.0), given, 1.0)
    start = flat(twins(subject)[0])
    if changed(flat(model) - start, flat(other) - start):
        return "it does: something is done to the gradient after each of them, not once after all"


@check("Does a step forget the gradients before it?", "model", "step")
def leftovers(subject):
    model, other = twins(subject)
    batches = some_batches(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    subject.step(model, optimizer, batches[:1], 0.0)                     # an incomplete one, as at the end of an epoch
    for each, its in ((model, optimizer), (other, torch.optim.SGD(other.parameters(), lr=0.0))):
        subject.step(each, its, batches, 1.0)
    start = flat(twins(subject)[0])
    if changed(flat(model) - start, flat(other) - start):
        return "a step goes elsewhere if one at rate 0 came before it: its gradients were left over"


@check("Does the rate never fall off a cliff?", "schedule")
def cliff(subject):
    rates = [subject.schedule(step, 200, FALLING[:step]) for step in range(200)]
    falls = -np.diff(rates)
    if falls.max() > 0.05 * max(rates):
        return f"from step {falls.argmax()} to the next it falls by {falls.max() / max(rates):.0%} of its highest"


@check("Does the rate not react to noise?", "schedule")
def noise(subject):
    noisy = FALLING + 0.2 * np.random.default_rng(0).standard_normal(200)
    calm, shaken = (subject.schedule(150, 200, list(losses[:150])) for losses in (FALLING, noisy))
    if shaken < 0.5 * calm:
        return f"the same falling loss with noise: after 150 steps the rate is {shaken / calm:.1%} of what it is without"


# The measuring.

@check("Is the model asked without dropout, on both sides?", "read", "encode", "model", "evaluate")
def modes(subject):
    model, training = subject.model().train(), []
    model.register_forward_pre_hook(lambda module, _: training.append(any(each.training for each in module.modules())))
    subject.evaluate(model, some_documents(subject), some_documents(subject))
    if any(training):
        return f"{np.mean(training):.0%} of the times in training mode"


@check("Does the same model get the same number?", "read", "encode", "model", "evaluate")
def fixed(subject):
    model, documents = twins(subject)[0], some_documents(subject)
    numbers = [subject.evaluate(model, documents[:1], documents)["validation"] for _ in range(4)]
    if max(numbers) > 1.01 * min(numbers):
        return f"one model, four times: {min(numbers):.3f} to {max(numbers):.3f}"


@check("Is the unit bits per byte?", "read", "encode", "decode", "model", "evaluate")
def unit(subject):
    model, documents = subject.model(), some_documents(subject)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()                                               # all scores are equal
    bytes_ = sum(len(subject.decode(ids).encode()) for ids in documents)
    expected = math.log2(vocabulary(model)) * sum(len(ids) - 1 for ids in documents) / bytes_
    found = subject.evaluate(model, documents, documents)["validation"]
    if not 0.8 < found / expected < 1.25:
        return f"a uniform guess costs {expected:.2f} bits per byte, and this says {found:.2f}"


@check("Is a row of the log the row of its step?", "log")
def axis(subject):
    if (found := subject.log(40, 1000, 2.0)["step"]) != 40:
        return f"the row of step 40 says {found}"


@check("Does speed depend on time?", "log")
def speed(subject):
    if not math.isclose(found := subject.log(40, 1000, 2.0)["tokens_per_second"], 500):
        return f"1,000 tokens in 2 seconds are called {found:,.0f} tokens per second"


# The writing.

@check("Does the same beginning get the same probabilities?", "model", "predict")
def predict_twice(subject):
    model = subject.model().train()
    ids = some_ids(model)[:, :8]
    one, other = (subject.predict(model, ids) for _ in range(2))
    if changed(one, other):
        return "it does not: dropout is on while sampling"


@check("Does a text begin with a token that was learned?", "read", "encode", "start")
def start(subject):
    learned = {int(i) for text in subject.read()[:200] for i in subject.encode(text[:5000])[:-1]}
    if new := [token for token in subject.start if token not in learned]:
        return f"it begins with {new}, which no training text has"


# What the checks need.

FALLING = 2 + 4 * np.exp(-np.arange(200) / 60)  # a loss that falls without noise


@contextmanager
def seeded() -> Iterator[None]:
    """All random numbers as if newly started, and afterwards as before."""
    states = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        yield
    np.random.set_state(states[0])
    random.setstate(states[1])


def pieces(text: str, size: int = 60, most: int = 300) -> list[str]:
    """Pieces from all over a text, none of them across the border of two documents."""
    begins = np.linspace(0, max(0, len(text) - size), most).astype(int).tolist()
    cut = [text[i:i + size] for i in dict.fromkeys(begins)]
    return [piece for piece in cut if "\0" not in piece and len(piece) == size]


def same_noise(model: nn.Module, ids: Tensor) -> Tensor:
    """The scores, with the random numbers of any other call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model(ids)


def changed(before: Tensor, after: Tensor) -> bool:
    """Do two tensors differ by more than rounding?"""
    scale = before.detach().std() + 1e-12
    return bool(((after - before).abs() > 1e-3 * scale).any())


def vocabulary(model: nn.Module) -> int:
    """How many tokens the model gives scores to."""
    with evaluating(model):
        return model(torch.zeros(1, 2, dtype=torch.long, device=place(model))).shape[-1]


def place(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def some_ids(model: nn.Module) -> Tensor:
    return torch.randint(vocabulary(model), (2, 16), generator=torch.Generator().manual_seed(1)).to(place(model))


def some_batches(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Two micro-batches, the second much dearer than the first: one token again and again."""
    ids = some_ids(model)
    return [(ids[:, :-1], ids[:, 1:]), (ids[:, :1].repeat(1, 15), ids[:, 1:2].repeat(1, 15))]


def some_documents(subject: Subject) -> list[Any]:
    return [subject.encode(text[:600]) for text in subject.read()[:4]]


def twins(subject: Subject) -> tuple[nn.Module, nn.Module]:
    """Two copies of a model without dropout that is sure of itself: large weights, large gradients, a spread of losses."""
    model = subject.model().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4 if weight.dim() > 1 else 1)
    return model, copy.deepcopy(model)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])


def first_stream(subject: Subject) -> tuple[nn.Module, Tensor]:
    """The first block of a model, and a stream that enters it."""
    model, entered = subject.model().eval(), []
    block = subject.blocks(model)[0]
    handle = block.register_forward_pre_hook(lambda _, given: entered.append(given[0].detach()))
    with evaluating(model):
        model(some_ids(model))
    handle.remove()
    return block, entered[-1]
