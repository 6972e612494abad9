"""Byte pair encoding, fast: learn merges, replay merges. Built by hand, slowly, in notebooks/03_bpe_tokenization.ipynb.

Both work on a line of tokens that are joined in place: each place knows its neighbours, so a merge looks only at the
places where its pair stands. Ids below 256 are bytes; merge number m makes id 256 + m.
"""

import gc
import heapq
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

__all__ = ["learn_merges", "replay_merges"]

NEVER = sys.maxsize  # later than any merge
NONE = -1  # stands in a line where no token is: between two chunks, and where a token was joined to its neighbour
SHORT = 100  # bytes; below it, looking at all pairs again costs less than keeping account of them


@contextmanager
def _no_search_for_circles() -> Iterator[None]:
    """Python looks for objects that refer to each other in circles; among so many lists, without one, for nothing."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


@_no_search_for_circles()
def learn_merges(
    chunks: Mapping[bytes, int], n_merges: int, report: Callable[[tuple[int, int], int], object] | None = None
) -> list[tuple[int, int]]:
    """Learn up to `n_merges` merges from chunks and how often each occurs, in the order of their first occurrence.

    The merges are those of counting all pairs anew each time and taking the most frequent, the earliest among equals;
    `report` is told each one with its count. After the merge that made a pair, its count can only fall and its first
    place only move on: an outdated heap entry is thus too good, never too bad, and is corrected when it comes up.

    >>> learn_merges({b"abab": 1, b"bc": 2}, 2)
    [(97, 98), (98, 99)]
    """
    line = ids, _, after = _line(chunks)
    weight = [0]  # of a place: how often its chunk occurs
    for chunk, count in chunks.items():
        weight.extend([count] * (len(chunk) + 1))
    places = _places(ids)  # of each pair, in order; those that a later merge takes away stay listed
    counts = {pair: sum(map(weight.__getitem__, where)) for pair, where in places.items()}
    heap = [(-counts[pair], where[0], pair) for pair, where in places.items()]
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < n_merges:
        entry = heapq.heappop(heap)
        left, right = pair = entry[-1]
        if not counts[pair]:
            continue
        where, gone = places[pair], 0
        while ids[where[gone]] != left or ids[after[where[gone]]] != right:
            gone += 1
        del where[:gone]
        if entry != (corrected := (-counts[pair], where[0], pair)):
            heapq.heappush(heap, corrected)
            continue
        new = 256 + len(merges)
        lefts, rights = _join(line, places.pop(pair), pair, new)
        made = [((right, b), (new, b), where) for b, where in rights.items()]
        made += [((a, left), (a, new), where) for a, where in lefts.items()]
        for lost, found, where in made:
            count = 0
            for i in where:
                count += weight[i]
            counts[lost] -= count
            counts[found], places[found] = count, where
            heapq.heappush(heap, (-count, where[0], found))
        del counts[pair]
        merges.append(pair)
        if report:
            report(pair, -entry[0])
    return merges


def replay_merges(chunk: bytes, joined: Mapping[tuple[int, int], int]) -> list[int]:
    """The tokens of a chunk: always the earliest merge that applies, from left to right.

    `joined` says which id a pair becomes. A later merge has a higher id, so the lowest id goes first.

    >>> replay_merges(b"abcab", {(97, 98): 256, (256, 99): 257})
    [257, 256]
    """
    if len(chunk) > SHORT:
        return _replay_long(chunk, joined)
    ids = list(chunk)
    while True:
        first = NEVER
        for i, pair in enumerate(pairwise(ids)):
            if (new := joined.get(pair, NEVER)) < first:
                first, place = new, i
        if first == NEVER:
            return ids
        ids[place:place + 2] = [first]


def _replay_long(chunk: bytes, joined: Mapping[tuple[int, int], int]) -> list[int]:
    """The same in n log n steps: what a merge makes only later merges can join, so the places wait for their turn."""
    line = ids, _, _ = _line([chunk])
    waiting = {pair: where for pair, where in _places(ids).items() if pair in joined}
    turns = [(joined[pair], pair) for pair in waiting]
    heapq.heapify(turns)
    while turns:
        new, pair = heapq.heappop(turns)
        lefts, rights = _join(line, waiting.pop(pair), pair, new)
        made = {(a, new): where for a, where in lefts.items()} | {(new, b): where for b, where in rights.items()}
        for found in made.keys() & joined.keys():
            waiting[found] = made[found]
            heapq.heappush(turns, (joined[found], found))
    return [token for token in ids if token != NONE]


def _line(chunks: Iterable[bytes]) -> tuple[list[int], list[int], list[int]]:
    """Chunks as tokens in a row, NONE on both sides of each; and of each place the one before and the one after."""
    ids = [NONE]
    for chunk in chunks:
        ids.extend(chunk)
        ids.append(NONE)
    return ids, list(range(-1, len(ids) - 1)), list(range(1, len(ids) + 1))


def _places(ids: list[int]) -> dict[tuple[int, int], list[int]]:
    """Where each pair of neighbours stands, in the order of their first place."""
    places = defaultdict(list)
    for i, pair in enumerate(pairwise(ids)):
        places[pair].append(i)
    return {pair: where for pair, where in places.items() if NONE not in pair}


def _join(
    line: tuple[list[int], list[int], list[int]], where: list[int], pair: tuple[int, int], new: int
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Write `new` at each place where the pair still stands, from left to right.

    Returns where pairs were made, from left to right, by the neighbour they were made with: before `new`, and behind it.
    """
    ids, before, after = line
    left, right = pair
    lefts, rights = defaultdict(list), defaultdict(list)
    for i in where:
        j = after[i]
        if ids[i] == left and ids[j] == right:
            h, k = before[i], after[j]
            ids[i], ids[j], after[i], before[k] = new, NONE, k, i
            lefts[ids[h]].append(h)
            rights[ids[k]].append(i)
    lefts.pop(NONE, None), rights.pop(NONE, None)
    return lefts, rights
