"""What the validation text has in common with the training text: shared passages, near-duplicates, and what they hide.

A validation loss speaks of texts that a model has not seen. Where the same passage, or its direct neighbourhood, stands in
the training text, the loss is too low, and no curve shows it.
"""

import math
import re
import zlib
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt64

from .corpora import Corpus
from .evaluation import Score, bits_per_byte, paired_difference
from .ngram import NGram
from .splits import Span

__all__ = ["Leak", "found_within", "leak_cost", "longest_copy", "near_duplicates", "report", "shared_passages",
           "similarity"]

WORD = re.compile(r"\w+")
BANDS, ROWS = 64, 2  # of a signature: two texts alike by 0.3 are compared with probability 1 - (1 - 0.3 ** 2) ** 64
START = 256  # the token before the first byte of a piece


def shared_passages(corpus: Corpus, n: int = 5) -> pd.DataFrame:
    """For each passage of n words of the validation text: where the nearest training text is that holds it, too.

    One row for each, with the document and the character `at` which it stands there, and its `distance`, in characters:
    inf where only other documents have it, nan where none has. Case and punctuation do not count.

    >>> corpus = Corpus("a", "memory", ["the red lamp, the old door"], ["The old door shuts"])
    >>> shared_passages(corpus, n=2)["distance"].tolist()
    [inf, inf, nan]
    """
    train_spans, held_out = corpus.spans if any(corpus.spans) else _apart(corpus)
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for text, span in zip(corpus.train, train_spans):
        for passage, at in _passages(text, n):
            places[passage].append((span.document, span.start + at))
    for where in places.values():
        where.sort()
    rows = []
    for text, span in zip(corpus.validation, held_out):
        for passage, at in _passages(text, n):
            here = (span.document, span.start + at)
            rows.append((*here, _distance(here, places.get(passage, ()))))
    return pd.DataFrame(rows, columns=["document", "at", "distance"]).astype({"distance": float})


def found_within(passages: pd.DataFrame, distances: Sequence[float | int]) -> list[float]:
    """The share of the passages whose nearest training text is so near, or nearer; inf counts other documents, too."""
    return [float((passages["distance"] <= distance).mean()) for distance in distances]


def near_duplicates(texts: Sequence[str], least: float | int = 0.3, n: int = 5) -> pd.DataFrame:
    """Pairs of texts that are nearly the same: the columns first, second and similarity, the most similar pair first.

    The similarity is Jaccard's: of all different passages of n words that two texts have, the share that both have. So
    that not all pairs must be compared, each text gets a signature, the smallest of 128 hashes of its passages each; the
    chance that two texts agree in one of them is their similarity (Broder, "On the resemblance and containment of
    documents", 1997). Only pairs that agree in two neighbours are compared, exactly.

    >>> near_duplicates(["one two three four five six", "a b c d e f g", "One, two, three, four, five, six!"])
       first  second  similarity
    0      0       2         1.0
    """
    sets = [_hashes(text, n) for text in texts]
    buckets: dict[tuple, list[int]] = defaultdict(list)
    for i, hashes in enumerate(sets):
        if len(hashes):
            for band, rows in enumerate(_signature(hashes).reshape(BANDS, ROWS)):
                buckets[band, *map(int, rows)].append(i)
    candidates = {pair for together in buckets.values() for pair in combinations(together, 2)}
    rows = []
    for first, second in candidates:
        both = len(np.intersect1d(sets[first], sets[second], assume_unique=True))
        similarity = both / (len(sets[first]) + len(sets[second]) - both)
        if similarity >= least:
            rows.append((first, second, similarity))
    rows.sort(key=lambda row: (-row[2], *row[:2]))
    return pd.DataFrame(rows, columns=["first", "second", "similarity"])


def similarity(first: str, second: str, n: int = 5) -> float:
    """Jaccard's similarity of two texts: of all different passages of n words that either has, the share that both have.

    0 where neither has one. Near-duplicates are those pairs for which it is high.

    >>> similarity("one two three", "Two three four", n=2)
    0.3333333333333333
    """
    one, other = ({passage for passage, _ in _passages(text, n)} for text in (first, second))
    return len(one & other) / max(len(one | other), 1)


def longest_copy(text: str, sources: Sequence[str]) -> str:
    """The longest passage of a text that stands in one of the sources, character by character; of equals the first.

    >>> longest_copy("the teapot lid", ["a teapot", "the top"])
    ' teapot'
    """
    if isinstance(sources, str):
        raise ValueError("the sources are a list of texts, and this is one text; put it into a list")
    best = ""
    for start in range(len(text)):
        while start + len(best) < len(text) and any(text[start:start + len(best) + 1] in source for source in sources):
            best = text[start:start + len(best) + 1]
    return best


class Leak(NamedTuple):
    """Bits per byte of the same text under two splits, and how much lower the leaky one makes them look."""

    honest: Score
    leaky: Score
    hidden: Score


def leak_cost(text: str, chunk: int = 20_000, order: int = 4, folds: int = 10) -> Leak:
    """What a split in chunks hides, measured with an n-gram model over bytes.

    Both splits hold out the same number of bytes and do so `folds` times, until each byte of the text was held out once:
    the honest one a long piece of the text at a time, one of `folds`, the leaky one such a part of each chunk (in bytes).
    Neither knows of documents. So both are judged by the same bytes, and after reading equally much; bytes that have less
    than the model's context before them in their piece, of either split, do not count. Raises ValueError for a text of
    fewer than two chunks.
    """
    raw = text.encode()
    if not 0 < 2 * chunk <= len(raw) or folds < 2 or chunk < folds or order < 1:
        raise ValueError(f"{len(raw):,} bytes, chunk={chunk}, folds={folds}, order={order}: it takes two chunks of "
                         "text or more, two folds or more, as many bytes in a chunk as folds, and order 1 or more")
    honest, leaky = (_held_out_nats(raw, size, order, folds) for size in (len(raw), chunk))
    both = ~np.isnan(honest + leaky)
    honest, leaky = honest[both], leaky[both]
    return Leak(bits_per_byte([honest]), bits_per_byte([leaky]), paired_difference([honest], [leaky]))


def report(corpus: Corpus, n: int = 5, near: int = 1000, passages: pd.DataFrame | None = None) -> str:
    """A few lines for people: what of the validation text stands in the training text, and which documents are alike.

    `passages` is shared_passages(corpus, n), where it is there already.
    """
    passages = shared_passages(corpus, n) if passages is None else passages
    anywhere, close = found_within(passages, [math.inf, near])
    lines = [f"of {len(passages):,} passages of {n} words in the validation text, {100 * anywhere:.1f} % stand in the "
             f"training text, too; {100 * close:.1f} % within {near:,} characters"]
    twins = near_duplicates([*corpus.train, *corpus.validation])
    border = len(corpus.train)
    across = twins[(twins["first"] < border) & (twins["second"] >= border)]
    lines.append(f"pairs of texts that are nearly the same: {len(twins)}, of them on both sides of the split: {len(across)}")
    for first, second, similarity in across.head(10).itertuples(index=False):
        lines.append(f"  validation text {second - border}{_called(corpus, 1, second - border)} is training text "
                     f"{first}{_called(corpus, 0, first)} to {100 * similarity:.0f} %: remove one")
    return "\n".join(lines)


def _passages(text: str, n: int) -> Iterator[tuple[str, int]]:
    """Each passage of n words, and the character where it begins."""
    if n < 1:
        raise ValueError(f"n={n} is no length of a passage; it takes one word or more, and 5 are usual")
    found = [(word[0].casefold(), word.start()) for word in WORD.finditer(text)]
    words = [word for word, _ in found]
    for i in range(len(words) - n + 1):
        yield " ".join(words[i:i + n]), found[i][1]


def _distance(here: tuple[int, int], places: Sequence[tuple[int, int]]) -> float:
    """From a place (document, character) to the nearest of these, which are sorted."""
    at = bisect(places, here)
    same = [abs(there - here[1]) for document, there in places[max(at - 1, 0):at + 1] if document == here[0]]
    return float(min(same, default=math.inf if places else math.nan))


def _apart(corpus: Corpus) -> tuple[list[Span], list[Span]]:
    """Each text as a document of its own."""
    spans = [Span(i, 0, len(text)) for i, text in enumerate([*corpus.train, *corpus.validation])]
    return spans[:len(corpus.train)], spans[len(corpus.train):]


def _hashes(text: str, n: int) -> UInt64[np.ndarray, "_"]:
    """The different passages of a text as numbers; a text of fewer than n words is one passage."""
    passages = {passage for passage, _ in _passages(text, n)} or {" ".join(WORD.findall(text.casefold()))} - {""}
    return np.array(sorted({zlib.crc32(passage.encode("utf-8", "replace")) for passage in passages}), np.uint64)


def _signature(hashes: UInt64[np.ndarray, "_"]) -> UInt64[np.ndarray, "_"]:
    """The smallest of all hashes, under each of as many mixtures of their bits."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = rng.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)
    return np.array([((hashes * factor + offset) >> np.uint64(16)).min() for factor, offset in zip(factors, offsets)])


def _held_out_nats(raw: bytes, size: int, order: int, folds: int) -> Float[np.ndarray, "_"]:
    """The nats of each byte, given by the model that did not read it: each fold holds out a part of each `size` bytes.

    nan at the first bytes of each part, which have less than a whole context.
    """
    nats = np.full(len(raw), np.nan)
    for fold in range(folds):
        borders = [(start + length * fold // folds, start + length * (fold + 1) // folds)
                   for start in range(0, len(raw), size) for length in [min(size, len(raw) - start)]]
        kept = zip([0, *(stop for _, stop in borders)], [*(start for start, _ in borders), len(raw)])
        model = NGram(order, 257).fit([START, *raw[start:stop]] for start, stop in kept)
        for start, stop in borders:
            nats[start + order - 1:stop] = model.token_nats([[START, *raw[start:stop]]])[0][order - 1:]
    return nats


def _called(corpus: Corpus, side: int, i: int) -> str:
    """The name of the document that a text is from, where it is known."""
    spans = corpus.spans[side]
    return f" ({corpus.names[spans[i].document]})" if spans and corpus.names else ""
