"""Which part of a text trains a model and which one judges it. Nothing here depends on chance.

The same documents give the same split, everywhere and every time.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .encodings import CorpusError

__all__ = ["Span", "describe_split", "split_documents", "split_spans"]

FEW = 10  # documents: fewer are split each, so many by count


class Span(NamedTuple):
    """A part of a document: which one, and its characters from `start` up to `stop`."""

    document: int
    start: int
    stop: int


def split_documents(documents: list[str], validation: float = 0.1, gap: int = 1000) -> tuple[list[str], list[str]]:
    """Split into training and validation documents, in the given order and without chance, as `split_spans` says.

    >>> split_documents(["0123456789"])
    (['012345678'], ['9'])
    >>> split_documents(["a" * 100, "b" * 20])[0] == ["a" * (90 - 5), "b" * (18 - 1)]
    True
    """
    spans = split_spans([len(document) for document in documents], validation, gap)
    train, held_out = ([documents[span.document][span.start:span.stop] for span in side] for side in spans)
    return train, held_out


def split_spans(
    lengths: Sequence[int], validation: float = 0.1, gap: int = 1000, chunk: int | None = None
) -> tuple[list[Span], list[Span]]:
    """Which parts of documents of these lengths are for training and which for validation; no chance in it.

    Ten documents or more: the last tenth of them (by count) is for validation. One document: it is cut at character
    int(0.9 * n), as everyone does with Tiny Shakespeare. Two to nine: the last tenth of each, and `gap` characters
    before it are left out (never more than a twentieth of the document), so that the two sides do not touch.
    `validation` is the share, 0.1 for a tenth. With `chunk`, of each so many characters of each document the last tenth
    is for validation, and every piece is a document of its own: no window crosses a seam, but each validation piece has
    its training text right beside it, which `gptcore.leakage` shows. Raises CorpusError when a side would be empty.

    >>> split_spans([25], validation=0.2, chunk=10)
    ([Span(document=0, start=0, stop=8), Span(document=0, start=10, stop=18), Span(document=0, start=20, stop=24)], \
[Span(document=0, start=8, stop=10), Span(document=0, start=18, stop=20), Span(document=0, start=24, stop=25)])
    """
    if not 0 < validation < 1:
        raise CorpusError(f"validation={validation} is no share of a text; 0.1 keeps the last tenth for validation")
    if gap < 0:
        raise CorpusError(f"gap={gap} is negative; 0 leaves nothing out")
    if chunk is not None and not 0 < _cut(chunk, validation) < chunk:
        raise CorpusError(f"chunk={chunk} cannot be cut at validation={validation}; 20000 characters are usual")
    train, held_out = [], []
    for document, length in enumerate(lengths):
        if chunk is None and len(lengths) >= FEW:
            (train if document < _cut(len(lengths), validation) else held_out).append(Span(document, 0, length))
            continue
        hole = min(gap, length // 20) if len(lengths) > 1 and chunk is None else 0
        for start in range(0, length, chunk or max(length, 1)):
            stop = min(start + (chunk or length), length)
            cut = start + _cut(stop - start, validation)
            if cut > start or chunk is None:
                train.append(Span(document, start, max(cut - hole, start)))
                held_out.append(Span(document, cut, stop))
            else:  # a rest too short to be cut
                train.append(Span(document, start, stop))
    if not train or not held_out or any(span.start == span.stop for span in train + held_out):
        raise CorpusError(f"too short to split at validation={validation}: {len(lengths)} documents, the shortest has "
                          f"{min(lengths, default=0)} characters; add text or leave the shortest file out")
    return train, held_out


def describe_split(
    lengths: Sequence[int], validation: float = 0.1, gap: int = 1000, chunk: int | None = None
) -> str:
    """How `split_spans` divides documents of these lengths, in words.

    >>> describe_split([100] * 20), describe_split([100], chunk=50)
    ('the last 10 % of 20 documents, by count', 'of each 50 characters of a document the last 10 %')
    """
    share = f"the last {100 * validation:g} %"
    if chunk is not None:
        return f"of each {chunk:,} characters of a document {share}"
    if len(lengths) >= FEW:
        return f"{share} of {len(lengths):,} documents, by count"
    return f"{share} of " + ("the document" if len(lengths) == 1 else
                             f"each of {len(lengths)} documents; up to {gap:,} characters before it are left out")


def _cut(n: int, validation: float) -> int:
    return int((1 - validation) * n)
