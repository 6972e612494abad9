"""The ladder: models in bits per byte over the same bytes, the grammar's floor below them. Climbed from chapter 01 on."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from gptcore import playhouse
from gptcore.corpora import REPOSITORY_DATA, Corpus
from gptcore.evaluation import Score, bits_per_byte
from gptcore.files import atomic_write
from gptcore.ngram import NGram

__all__ = ["COUNTING", "counting_rungs", "floor", "gap_by_kind", "known_rungs", "ladder", "place", "worth_by_kind"]

COUNTING = {"uniform": 0, "unigram": 1, "bigram": 2, "5-gram": 5}  # rung -> order of the NGram that stands on it
ENOUGH = 2_000_000  # bytes of training text that the rungs count; more would be slow and change little

LADDER = REPOSITORY_DATA / "ladder.json"  # the rungs that the chapters measured

Nats = Sequence[Float[np.ndarray, "_"]]  # one array per document, one surprisal per byte


def counting_rungs(
    train: Sequence[str], validation: Sequence[str], orders: Mapping[str, int] = COUNTING
) -> dict[str, list[Float[np.ndarray, "_"]]]:
    """Count n-grams of bytes in the training text and return their surprisal of every validation byte, in nats.

    The first byte of a document is predicted too, from a start token. The alphabet is the set of bytes that occur.
    """
    alphabet = sorted(set("".join(train).encode()) | set("".join(validation).encode()))
    place = {byte: i for i, byte in enumerate(alphabet)}
    start = len(alphabet)
    kept, size = [], 0
    for text in train:
        if size < ENOUGH:
            kept.append([start, *(place[byte] for byte in text.encode()[:ENOUGH - size])])
            size += len(kept[-1])
    judged = [[start, *(place[byte] for byte in text.encode())] for text in validation]
    model = NGram(max(orders.values()), len(alphabet)).fit(kept)
    return {name: model.token_nats(judged, order) for name, order in orders.items()}


def floor(documents: Sequence[str]) -> list[playhouse.Derivation] | None:
    """What the grammar knows about each document; None for text that it did not write, whose floor nobody knows."""
    derivations = []
    for text in documents:
        derivations.append(playhouse.score(text))
        if derivations[-1].left_at is not None:
            return None
    return derivations


def ladder(rungs: Mapping[str, Nats | Score]) -> pd.DataFrame:
    """A table of rungs, highest loss first: bits per byte, standard error, and percent above the lowest.

    >>> print(ladder({"one bit": [np.full(8, math.log(2))] * 10, "two": [np.full(8, math.log(4))] * 10}))
             bits per byte  error  above lowest
    two                2.0    0.0         100.0
    one bit            1.0    0.0           0.0
    """
    scores = {name: rung if isinstance(rung, Score) else bits_per_byte(rung) for name, rung in rungs.items()}
    lowest = min(score.value for score in scores.values())
    table = pd.DataFrame({"bits per byte": {name: score.value for name, score in scores.items()},
                          "error": {name: score.error for name, score in scores.items()},
                          "above lowest": {name: 100 * (score.value / lowest - 1) for name, score in scores.items()}})
    return table.sort_values("bits per byte", ascending=False)


def known_rungs(corpus: Corpus, path: Path = LADDER) -> dict[str, Score]:
    """The rungs that the chapters measured on this corpus; none for a text of your own."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["validation"] != corpus.validation_hash:
        return {}
    return {name: Score(rung["bits per byte"], rung["error"]) for name, rung in stored["rungs"].items()}


def place(name: str, nats: Nats, corpus: Corpus, path: Path = LADDER) -> Score:
    """Measure a rung and hold it to the one in data/ladder.json: AssertionError if it is off by three standard errors.

    A new name, or the name of a rung on another text, is only measured. With GPTCORE_KEEP=1, as `make notebooks` sets
    it, the rung is written to the file.
    """
    score, known = bits_per_byte(nats), known_rungs(corpus, path)
    if os.environ.get("GPTCORE_KEEP") == "1":
        kept = {rung: {"bits per byte": round(value.value, 6), "error": round(value.error, 6)}
                for rung, value in ladder_order(known | {name: score})}
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"corpus": corpus.name, "validation": corpus.validation_hash, "rungs": kept},
                                            indent=1) + "\n", encoding="utf-8")
    elif name in known and abs(score.value - known[name].value) > 3 * known[name].error + 1e-6:
        raise AssertionError(f"the rung {name} stands at {known[name]} in {path.name}, and this one came out at {score}: "
                             "something in between was changed")
    return score


def ladder_order(rungs: Mapping[str, Score]) -> list[tuple[str, Score]]:
    return sorted(rungs.items(), key=lambda rung: (-rung[1].value, rung[0]))


def gap_by_kind(nats: Nats, derivations: Sequence[playhouse.Derivation]) -> pd.DataFrame:
    """Where a model loses bits to the grammar: bits per byte by kind of structure, each over all bytes of the text.

    A column adds up to its total: `floor` to the grammar's bits per byte, `model` to the model's, `gap` to the model's
    whole gap, and `share` to 100 % of that gap. A kind can have a negative gap: by luck, on a text that is short.
    Raises ValueError when model and grammar were not scored on documents of the same sizes.
    """
    sizes = [[len(of_document) for of_document in nats], [len(derivation.nats) for derivation in derivations]]
    if sizes[0] != sizes[1]:
        raise ValueError(f"not the same text: the model was scored on {len(nats)} documents of {sum(sizes[0])} bytes, "
                         f"the grammar on {len(derivations)} of {sum(sizes[1])}, or they are cut differently")
    ours, exact = np.concatenate([*nats]), np.concatenate([derivation.nats for derivation in derivations])
    kinds = np.concatenate([derivation.kinds for derivation in derivations])
    bits = len(exact) * math.log(2)
    table = pd.DataFrame({name: {kind: values[kinds == kind].sum() / bits for kind in playhouse.KINDS}
                          for name, values in (("floor", exact), ("model", ours))})
    table["gap"] = table["model"] - table["floor"]
    table["share"] = 100 * table["gap"] / table["gap"].sum()
    return table


def worth_by_kind(documents: Sequence[str]) -> pd.Series:
    """What each kind of structure is worth: bits per byte that a reader loses who is blind to it and knows all else.

    A gap as large as that says that a model has learned nothing of the kind. For texts of the grammar only.
    """
    bits = sum(map(len, documents)) * math.log(2)
    exact = sum(playhouse.score(text).nats.sum() for text in documents)
    blind = {kind: sum(playhouse.score(text, kind).nats.sum() for text in documents) for kind in playhouse.KINDS}
    return pd.Series({kind: (nats - exact) / bits for kind, nats in blind.items()}, name="worth")
