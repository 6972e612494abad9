"""Do the checks in the notebooks bite? Cells are run in this process, on mutants of gptcore and on wrong answers."""
import ast
import contextlib
import io
import os
import random
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import jaxtyping
import matplotlib
import numpy as np
import torch
from guards import Cell, Chapter, exists, guard
from mutants import Mutant, Stillborn, TimeUp, installed, mutants, time_limit
from nbformat import NotebookNode

from gptcore.course import check
from gptcore.course.exercises import EXERCISES, Exercise
from tools import notebooks

# What belongs to a checked class, or lies beneath a checked function, and is not built by hand: it is not mutated.
NOT_BUILT = {
    "gptcore.tokenizer.Tokenizer.hash": "a fingerprint for files",
    "gptcore.tokenizer.Tokenizer.save": "a file format",
    "gptcore.tokenizer.CharTokenizer._content": "a file format",
    "gptcore.tokenizer.CharTokenizer.__repr__": "how it is shown",
    "gptcore.tokenizer._told": "a progress bar, and what is printed beside it",
    "gptcore.tokenizer._Remembered": "it saves time and changes no id",
    "gptcore.tokenizer.BPETokenizer._content": "a file format",
    "gptcore.tokenizer.BPETokenizer.save_listing": "a file format",
    "gptcore.tokenizer.BPETokenizer.pattern_name": "how it is shown",
    "gptcore.tokenizer.BPETokenizer.__repr__": "how it is shown",
    "gptcore.gpt.GPT.new_cache": "a list with one KeyValueCache for each layer",
    "gptcore.gpt.GPT.attention_maps": "for pictures: of each layer what chapter 04 built",
    "gptcore.leakage._apart": "for a corpus that no loader made (test_leakage.py); a reader's has spans",
    "gptcore.quantization.exact": "whether torch's product of whole numbers is right here (test_quantization.py)",
    "gptcore.quantization.multiply": "a product of whole numbers, by the fastest way that is exact (test_quantization.py)",
}

NAMED_IDS = "only special tokens with ids of their own may lack <|endoftext|>, and these are not built by hand"

LOOKS_AT_IDS = "whether ids are looked at before they are used; one that there is not is refused either way (test_gpt.py)"

# Mutants that no parity check can tell from the original, by their description, and why.
EQUIVALENT = {
    "tokenizer.Tokenizer.decode: b''.join(map(self.token_bytes, ids)).decode('utf-8', errors='replace') -> "
    "b''.join(map(self.token_bytes, ids)).decode('utf-8', errors='replaceX')":
        "the bytes of a CharTokenizer's tokens are whole characters, so nothing is ever replaced",
    "evaluation._ratio: len(x) < 2 -> len(x) <= 2": "bits_per_byte makes ten pieces or more",
    "evaluation._ratio: len(x) < 2 -> len(x) < 3": "bits_per_byte makes ten pieces or more",
    "mlp.MLPModel.forward: ids.numel() <= config.vocab_size -> ids.numel() < config.vocab_size":
        "both ways give the same sums (test_mlp.py)",
    "mlp.MLPModel.forward: ids.numel() <= config.vocab_size -> ids.numel() > config.vocab_size":
        "both ways give the same sums (test_mlp.py)",
    "batches._rows: np.reshape(skip, (-1, 1)) -> np.reshape(skip, (1, 1))": "Batches skips nothing: one 0 for all rows",
    "batches._rows: np.reshape(skip, (-1, 1)) -> np.reshape(skip, (-2, 1))":
        "numpy takes any negative size for an unknown one",
    "evaluation.token_nats: batch_size=32 -> batch_size=33": "how many windows are read at once changes no loss",
    "evaluation._predictions: progress=False -> progress=True": "a progress bar, on stderr",
    "evaluation._predictions: tqdm(total=len(order), unit='window', disable=not progress) -> "
    "tqdm(total=len(order), unit='window', disable=progress)": "a progress bar, on stderr",
    "evaluation._predictions: tqdm(total=len(order), unit='window', disable=not progress) -> "
    "tqdm(total=len(order), unit='windowX', disable=not progress)": "a word in the progress bar",
    "evaluation._predictions: np.argsort(windows.length, kind='stable') -> np.argsort(windows.length, kind='stableX')":
        "numpy reads the first letter",
    "sampling.draw: torch.rand(1, dtype=p.dtype, generator=generator) * sums[-1] -> "
    "torch.rand(1, dtype=p.dtype, generator=generator) / sums[-1]":
        "the sum of the probabilities is 1 but for rounding (test_sampling.py)",
    "sampling.draw: torch.searchsorted(sums, threshold, right=True) -> torch.searchsorted(sums, threshold, right=False)":
        "they differ where a random number is exactly one of the sums (test_sampling.py)",
    "attention.attention_weights: k.transpose(-2, -1) -> k.transpose(2, -1)":
        "queries and keys have four dimensions, so the last but one is number 2",
    "attention.attention_weights: q.size(-2) -> q.size(2)":
        "queries and keys have four dimensions, so the last but one is number 2",
    "attention.attention_weights: k.size(-2) -> k.size(2)":
        "queries and keys have four dimensions, so the last but one is number 2",
    "attention.sdpa_attention: q.size(-2) -> q.size(2)":
        "queries and keys have four dimensions, so the last but one is number 2",
    "attention.sdpa_attention: k.size(-2) -> k.size(2)":
        "queries and keys have four dimensions, so the last but one is number 2",
    "attention.sdpa_attention: T == 1 -> T == 0":
        "a single query may look at everything, so the mask that it spares hides nothing",
    "gpt.GPT.embed: past=0 -> past=1": "`forward` always says how many are in the cache",
    "gpt.GPT.embed: ids.device.type == 'cpu' and (not torch.compiler.is_compiling()) -> "
    "ids.device.type == 'cpu' or not torch.compiler.is_compiling()": LOOKS_AT_IDS,
    "gpt.GPT.embed: ids.device.type == 'cpu' and (not torch.compiler.is_compiling()) -> "
    "ids.device.type == 'cpu' and torch.compiler.is_compiling()": LOOKS_AT_IDS,
    "gpt.GPT.embed: ids.device.type == 'cpu' -> ids.device.type != 'cpu'": LOOKS_AT_IDS,
    "gpt.GPT.embed: ids.device.type == 'cpu' -> ids.device.type == 'cpuX'": LOOKS_AT_IDS,
    "diagnostics.predict_memory: optimizer='adamw' -> optimizer='adamwX'": "whatever is not Muon is counted as AdamW",
    "evaluation.window_loss: batch_size=32 -> batch_size=33": "how many windows are read at once changes no loss",
    "attention.KeyValueCache.length: self.k.size(-2) -> self.k.size(2)":
        "keys and values have four dimensions, so the last but one is number 2",
    "attention.KeyValueCache.extend: torch.cat((self.k, k), dim=-2) -> torch.cat((self.k, k), dim=2)":
        "keys and values have four dimensions, so the last but one is number 2",
    "attention.KeyValueCache.extend: torch.cat((self.v, v), dim=-2) -> torch.cat((self.v, v), dim=2)":
        "keys and values have four dimensions, so the last but one is number 2",
    "ngram.NGram.token_nats: i - order + 1 -> i - order - 1":
        "a longer context is cut to the model's order; only with `order`, not built by hand, would it count (test_ngram.py)",
    "ngram.NGram.token_nats: i - order + 1 -> i - order + 0":
        "a longer context is cut to the model's order; only with `order`, not built by hand, would it count (test_ngram.py)",
    "bpe: NONE = -1 -> NONE = -2": "any number that is no id will do",
    "bpe: SHORT = 100 -> SHORT = 101": "both ways give the same tokens; it decides which one is faster",
    "bpe.replay_merges: len(chunk) > SHORT -> len(chunk) >= SHORT": "both ways give the same tokens",
    "bpe.replay_merges: len(chunk) > SHORT -> len(chunk) <= SHORT": "both ways give the same tokens",
    "bpe.learn_merges: [0] -> [1]": "it weighs the place before the first chunk, where no pair is",
    "bpe.learn_merges: report(pair, -entry[0]) -> report(pair, entry[0])": "what is told of a merge changes none",
    "bpe.learn_merges: entry[0] -> entry[1]": "what is told of a merge changes none",
    "bpe._line: len(ids) - 1 -> len(ids) + 1": "nobody asks for neighbours beyond the last place",
    "bpe._line: len(ids) - 1 -> len(ids) - 0": "nobody asks for neighbours beyond the last place",
    "bpe._line: len(ids) + 1 -> len(ids) + 2": "nobody asks for neighbours beyond the last place",
    "bpe._line: len(ids) + 1 -> len(ids) + 0": "nobody asks for the neighbour behind the last place",
    "tokenizer.BPETokenizer.__init__.ids_of: len(chunks) == 1 -> len(chunks) == 0":
        "a word of one chunk is then treated like one of several: a little slower",
    "tokenizer.BPETokenizer.train: verbose=False -> verbose=True": "it only prints",
    "tokenizer.BPETokenizer.train: progress=True -> progress=False": "it only shows a bar",
    "tokenizer.BPETokenizer.train: _special_ids(special_tokens, 256) -> _special_ids(special_tokens, 257)":
        "in training only their names and their number matter; the ids are given when the merges are known",
    "tokenizer._splitter: pattern in PATTERN_NAMES -> pattern not in PATTERN_NAMES":
        "whether it is looked at that no character is lost; of a pattern that loses one no case is made",
    "tokenizer._special_ids: max([first - 1, *ids.values()]) + 1 -> max([first - 1, *ids.values()]) - 1": NAMED_IDS,
    "tokenizer._special_ids: first - 1 -> first + 1": NAMED_IDS,
    "tokenizer._special_ids: first - 1 -> first - 2": NAMED_IDS,
    "tokenizer._special_ids: first - 1 -> first - 0": NAMED_IDS,
    "tokenizer._special_ids: max([first - 1, *ids.values()]) + 1 -> max([first - 1, *ids.values()]) + 2": NAMED_IDS,
    "tokenizer._special_ids: max([first - 1, *ids.values()]) + 1 -> max([first - 1, *ids.values()]) + 0": NAMED_IDS,
    "evaluation.byte_nats: batch_size=32 -> batch_size=33": "how many at once changes nothing",
    "evaluation.byte_nats: progress=False -> progress=True": "it only shows a bar",
    "evaluation.byte_nats: -len(targets) // 512 -> -len(targets) * 512": "how many at once changes nothing",
    "evaluation.byte_nats: -len(targets) // 512 -> -len(targets) // 513": "how many at once changes nothing",
    "evaluation.ByteRanges.__init__: ...in beginnings]).reshape(-1, 2) -> ...in beginnings]).reshape(-2, 2)":
        "numpy takes any negative number for what is left",
    "evaluation.ByteRanges.split: logits.double().log_softmax(-1) -> logits.double().log_softmax(1)":
        "the last of two dimensions is dimension 1",
    "evaluation.ByteRanges.split: np.full((len(log_p), 1), -np.inf) -> np.full((len(log_p), 2), -np.inf)":
        "what stands behind the last token is never added",
    "evaluation.ByteRanges.split: np.full((len(log_p), 1), -np.inf) -> np.full((len(log_p), 1), np.inf)":
        "what stands behind the last token is never added",
    "evaluation.ByteRanges.split: np.maximum(mass, 1e-300) -> np.maximum(mass, 2e-300)":
        "a float64 softmax comes to so little only where a model is sure and wrong beyond all measure",
    "quantization.gptq: damping * mean if mean > 0 else 1.0 -> damping * mean if mean > 0 else 2.0":
        "where nothing comes in, any multiple of the identity will do",
    "quantization.gptq: j + 1 -> j + 2": "the next column is written as well, and later once more",
    "quantization.gptq: j + 1 -> j + 2 (3)": "two columns are widened, and only the first is taken",
    "leakage._passages: ' '.join -> ' X'.join": "whatever stands between the words of a passage, nobody sees it",
    "leakage._distance: at - 1 -> at - 2": "one place more is looked at, and it is farther away",
    "leakage._distance: at + 1 -> at + 2": "one place more is looked at, and it is farther away",
}

RUN = {"setup", "builds", "cases", "parity", "exercise", "check"}  # cells with these tags need no trained model
SECONDS, MUTANT_SECONDS = 60, 5


@contextlib.contextmanager
def workplace() -> Iterator[None]:
    """Where cells run in this process: in notebooks/, in their environment, with no screen and no type checker."""
    backend, path, here = matplotlib.get_backend(), list(sys.path), Path.cwd()
    with notebooks.environment() as fixed, mock.patch.dict(os.environ, fixed), torch.random.fork_rng([]):
        matplotlib.use("Agg")
        jaxtyping.config.update("jaxtyping_disable", True)
        os.chdir(notebooks.ROOT / "notebooks")
        try:
            yield
        finally:
            os.chdir(here)
            jaxtyping.config.update("jaxtyping_disable", False)
            sys.path[:] = path
            matplotlib.use(backend)


class DoesNotRun(Exception):
    """A complaint that ends the work on a notebook."""


def run(cell: Cell, namespace: dict[str, Any]) -> str:
    """Execute a cell and return what it prints; of a cell without one of the tags only its imports, for the others."""
    tree = ast.parse(cell.source)
    if not cell.kinds & RUN:
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)  # a cell that draws without a seed of its own must not pass now and fail then
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, cell.where, "exec"), namespace)
    return printed.getvalue()


def attempt(cell: Cell, namespace: dict[str, Any], seconds: float = SECONDS) -> tuple[str, BaseException | None]:
    """What a cell prints and what it raises. Afterwards the names in the namespace stand for what they stood for before.

    That is shallow, which is enough: a parity or check cell defines nothing that it could spoil, and `check` copies the
    arguments of each case before it calls anything.
    """
    before = dict(namespace)
    try:
        with time_limit(seconds):
            return run(cell, namespace), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "", error
    finally:
        namespace.clear()
        namespace.update(before)


def walk(chapter: Chapter) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield each cell before it is run, with the namespace in which it will run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with workplace():
        for cell in chapter.code:
            yield cell, namespace
            try:
                with time_limit(SECONDS):
                    run(cell, namespace)
            except (Exception, TimeUp) as error:
                raise DoesNotRun(
                    f"{cell.where}: {told(error)}; this cell has to run after nothing but imports and cells tagged setup, "
                    "builds, cases, parity, exercise or check, so give one of these tags to what it needs"
                ) from None


def told(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0][:200]


@dataclass
class Bites:
    """What came of trying all mutants on the parity cells of one notebook."""

    complaints: list[str] = field(default_factory=list)
    runs: int = 0
    tried: set[str] = field(default_factory=set)     # descriptions of mutants
    survived: set[str] = field(default_factory=set)  # those that some cell did not notice
    finished: bool = False


def parity_bites(
    chapter: Chapter, equivalent: Mapping[str, str] = EQUIVALENT, not_built: Collection[str] = NOT_BUILT
) -> Bites:
    """Does each parity cell pass as it stands, and fail for every mutant of everything that its tags name?"""
    bites = Bites()
    try:
        for cell, namespace in walk(chapter):
            if cell.named("parity"):
                bites.complaints += unnoticed(cell, namespace, equivalent, not_built, bites)
        bites.finished = True
    except DoesNotRun as error:
        bites.complaints.append(str(error))
    print(f"{chapter.name}: {bites.runs} mutants tried, {len(bites.survived)} not noticed")
    return bites


def unnoticed(
    cell: Cell, namespace: dict[str, Any], equivalent: Mapping[str, str], not_built: Collection[str], bites: Bites
) -> Iterator[str]:
    called = {ast.unparse(node.func) for node in ast.walk(cell.tree()) if isinstance(node, ast.Call)}
    if not called & {"check.same", "check.same_module"}:
        yield f"{cell.where}: a parity cell calls check.same or check.same_module; this one does not"
    printed, error = attempt(cell, namespace)
    if error:
        return  # the walk comes to it, and complains
    if printed.count("same: ") < len(cell.named("parity")) or "not done yet" in printed:
        yield (f"{cell.where}: it must print one line `same: ...` for each of its parity tags, and printed {printed!r}; "
               "does it give check.same what was built by hand, and all of it?")
    for name in cell.named("parity"):
        try:
            found = mutants(name, skip=not_built)
        except (ImportError, ValueError) as error:
            yield f"{cell.where}: its tag parity:{name} names nothing that can be checked: {error}"
            continue
        for mutant in found:
            bites.runs += 1
            bites.tried.add(mutant.description)
            if survives(mutant, cell, namespace):
                bites.survived.add(mutant.description)
                if mutant.description not in equivalent:
                    yield (f"{cell.where}: {name} passes with a fault in gptcore, `{mutant.description}`; add a case that "
                           "shows it (gptcore/course/cases.py), or say why none can in EQUIVALENT (tests/bites.py)")


def survives(mutant: Mutant, cell: Cell, namespace: dict[str, Any]) -> bool:
    """Does the cell pass with the mutant? One that cannot be defined, raises anything or never ends does not survive."""
    try:
        with installed(mutant, namespace):
            return attempt(cell, namespace, MUTANT_SECONDS)[1] is None
    except Stillborn:
        return False


@guard
def excuses_hold(
    results: Collection[Bites], equivalent: Collection[str] = EQUIVALENT, not_built: Collection[str] = NOT_BUILT
) -> Iterator[str]:
    """Is every entry of EQUIVALENT and NOT_BUILT needed, when all notebooks were tried?"""
    tried = {mutant for each in results for mutant in each.tried}
    survived = {mutant for each in results for mutant in each.survived}
    for mutant in equivalent if all(each.finished for each in results) else ():
        if mutant not in tried:
            yield f"EQUIVALENT, {mutant!r}: no parity cell meets such a mutant; remove the entry"
        elif mutant not in survived:
            yield f"EQUIVALENT, {mutant!r}: it is noticed after all; remove the entry"
    for name in not_built:
        if not exists(name):
            yield f"NOT_BUILT, {name!r}: there is no such name; remove the entry"


@guard
def exercises_bite(chapter: Chapter, exercises: Mapping[str, Exercise] = EXERCISES) -> Iterator[str]:
    """Does the notebook's answer pass, an empty one say so, and each stored mistake get refused with its own hint?"""
    asked, checked = chapter.named("exercise"), chapter.named("check")
    for name in sorted(asked.keys() - checked.keys()):
        yield f"{asked[name].where}: exercise {name!r} is not checked; add a cell with the tag check:{name}"
    for name in sorted(checked.keys() - asked.keys()):
        yield f"{checked[name].where}: check {name!r} has no exercise; tag the cell with its answer exercise:{name}"
    for name, cell in (asked | checked).items():
        if name not in exercises:
            yield f"{cell.where}: gptcore/course/exercises.py has no {name!r}; add its cases and wrong answers there"
    try:
        for cell, namespace in walk(chapter):
            for name in cell.named("check"):
                if name in exercises:
                    yield from told_apart(cell, namespace, name, exercises[name])
        edition = notebooks.exercise_edition(chapter.notebook, chapter.name)
        for cell, namespace in walk(Chapter(f"{chapter.name} (exercise edition)", edition)):
            for name in cell.named("check"):
                printed, error = attempt(cell, namespace)
                if error or "right: " in printed or f"not done yet: {name}" not in printed:
                    yield (f"{cell.where}: with nothing written it must print `not done yet: {name}`, and what came was "
                           f"{told(error) if error else repr(printed)}")
    except DoesNotRun as error:
        yield str(error)


def told_apart(cell: Cell, namespace: dict[str, Any], name: str, exercise: Exercise) -> Iterator[str]:
    """Run a check with the answer of the notebook and, in its place, with each stored mistake."""
    calls = [node for node in ast.walk(cell.tree()) if isinstance(node, ast.Call)
             and ast.unparse(node.func) == "check.exercise" and len(node.args) == 2]
    if len(calls) != 1 or not isinstance(calls[0].args[1], ast.Name):
        yield f"{cell.where}: it must call check.exercise({name!r}, answer) once, where `answer` is a name"
        return
    answer = calls[0].args[1].id
    printed, error = attempt(cell, namespace)
    if error or not printed.startswith(f"right: {name}"):
        yield (f"{cell.where}: the answer in the notebook must give `right: {name}`, and what came was "
               f"{told(error) if error else repr(printed)}")
    if len(exercise.wrong) < 2:
        yield (f"{cell.where}: gptcore/course/exercises.py has {len(exercise.wrong)} wrong answers to {name!r}; think "
               "of two mistakes at least, each with a hint")
    for hint, wrong in exercise.wrong.items():
        _, error = attempt(cell, namespace | {answer: wrong})
        if error is None:
            yield (f"{cell.where}: a wrong answer to {name!r} passes, the one with the hint {hint!r}; add a case to "
                   "gptcore/course/exercises.py that refuses it")
        elif not isinstance(error, check.Refused) or hint not in str(error):
            yield (f"{cell.where}: a wrong answer to {name!r} must be refused with its hint {hint!r}, and what came was "
                   f"{told(error)}")


@guard
def exercises_asked(chapters: Collection[Chapter], exercises: Collection[str] = EXERCISES) -> Iterator[str]:
    """Is each exercise of gptcore/course/exercises.py asked in exactly one cell, and checked in one?"""
    cells = [cell for chapter in chapters for cell in chapter.code]
    for kind in ("exercise", "check"):
        tags = [name for cell in cells for name in cell.named(kind)]
        for name in exercises:
            if name not in tags:
                yield f"gptcore/course/exercises.py: {name!r} is in no notebook; remove it, or tag a cell {kind}:{name}"
        for name in tags:
            if tags.count(name) > 1:
                where = ", ".join(cell.where for cell in cells if name in cell.named(kind))
                yield f"{where}: the tag {kind}:{name} stands in {tags.count(name)} places; give each exercise its own name"


@guard
def untouched(name: str, edition: NotebookNode, folder: Path) -> Iterator[str]:
    """Run an exercise edition as it is, in a kernel: every check must say "not done yet", and none may pass."""
    try:
        notebooks.execute(edition, folder, name)
    except notebooks.Failed as error:
        yield f"{name}, exercise edition: untouched it must run from top to bottom; {error}"
        return
    for cell in Chapter(f"{name} (exercise edition)", edition).code:
        lines = cell.text().splitlines()
        if any(line.startswith(("same: ", "right: ")) for line in lines):
            yield f"{cell.where}: with nothing written a check passes: {lines}"
        elif cell.kinds & {"parity", "check"} and not any(line.startswith("not done yet") for line in lines):
            yield f"{cell.where}: with nothing written it must print `not done yet`, and printed {lines}"
