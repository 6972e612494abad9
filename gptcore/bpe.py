"""Byte pair encoding, fast: learn merges, replay merges. Built by hand, slowly, in notebooks/03_bpe_tokenization.ipynb.

Both work on a line of tokens that can be joined in place. Ids below 256 are bytes; merge number m makes id 256 + m.
"""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from itertools import pairwise

from tqdm.auto import tqdm

__all__ = ["learn_merges", "replay_merges"]


def learn_merges(chunks: Mapping[bytes, int], n_merges: int, progress: bool = False) -> list[tuple[int, int]]:
    """Learn up to `n_merges` merges from chunks and how often each occurs, in the order of their first occurrence.

    The merges are those of counting all pairs anew each time and taking the most frequent, the earliest among equals.
    After the merge that made a pair, its count can only fall and its first place only move on; an outdated heap entry
    is thus too good, never too bad, and is corrected when it comes up.

    >>> learn_merges({b"abab": 1, b"bc": 2}, 2)
    [(97, 98), (98, 99)]
    """
    pairs = _Pairs(chunks)
    heap = [pairs.entry(pair) for pair in pairs.counts]
    heapq.heapify(heap)
    merges = []
    with tqdm(total=n_merges, desc="merges", disable=not progress) as bar:
        while heap and len(merges) < n_merges:
            entry = heapq.heappop(heap)
            pair = entry[-1]
            if not pairs.counts[pair]:
                continue
            if entry != (corrected := pairs.entry(pair)):
                heapq.heappush(heap, corrected)
                continue
            for made in pairs.join_all(pair, 256 + len(merges)):
                heapq.heappush(heap, pairs.entry(made))
            merges.append(pair)
            bar.update()
    return merges


def replay_merges(chunk: bytes, joined: Mapping[tuple[int, int], int]) -> list[int]:
    """The tokens of a chunk: always the earliest merge that applies, from left to right.

    `joined` says which id a pair becomes. A later merge has a higher id, so the lowest id goes first; and what a merge
    makes can only be joined by later merges, so one heap holds all that is still to do.

    >>> replay_merges(b"abcab", {(97, 98): 256, (256, 99): 257})
    [257, 256]
    """
    line = _Line([chunk])
    waiting = [(joined[pair], i) for i, pair in enumerate(pairwise(line.ids)) if pair in joined]
    heapq.heapify(waiting)
    while waiting:
        new, i = heapq.heappop(waiting)
        if joined.get(line.pair(i)) != new:
            continue  # an earlier merge took one of the two
        line.join(i, new)
        for j in (line.before[i], i):
            if (later := joined.get(line.pair(j))) is not None:
                heapq.heappush(waiting, (later, j))
    return [token for token in line.ids if token != NONE]


NONE = -1  # stands in a line where no token is: between two chunks, and where a token was joined to its neighbour


class _Line:
    """Chunks as tokens in a row that can be joined in place: each place knows the next token on either side."""

    def __init__(self, chunks: Iterable[bytes]):
        self.ids = [NONE]
        for chunk in chunks:
            self.ids.extend(chunk)
            self.ids.append(NONE)
        self.before = list(range(-1, len(self.ids) - 1))
        self.after = list(range(1, len(self.ids) + 1))

    def pair(self, i: int) -> tuple[int, int]:
        """The token at place i and the next one."""
        return self.ids[i], self.ids[self.after[i]]

    def join(self, i: int, new: int) -> None:
        """Write `new` for the pair at place i."""
        swallowed = self.after[i]
        self.ids[i], self.ids[swallowed] = new, NONE
        self.after[i] = self.after[swallowed]
        self.before[self.after[i]] = i


class _Pairs:
    """How often each pair of neighbours occurs, and where, kept up to date only around the places that change."""

    def __init__(self, chunks: Mapping[bytes, int]):
        self.line = _Line(chunks)
        self.weight = [0]  # of a place: how often its chunk occurs
        for chunk, count in chunks.items():
            self.weight.extend([count] * (len(chunk) + 1))
        self.counts, self.places = Counter(), defaultdict(deque)
        for i, pair in enumerate(pairwise(self.line.ids)):
            if NONE not in pair:
                self._add(pair, i)

    def entry(self, pair: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        """What the heap sorts by: the highest count first, then the earliest place."""
        places = self.places[pair]
        while self.line.pair(places[0]) != pair:
            places.popleft()
        return -self.counts[pair], places[0], pair

    def join_all(self, pair: tuple[int, int], new: int) -> set[tuple[int, int]]:
        """Write `new` wherever `pair` stands, from left to right; returns the pairs that this made."""
        line, made = self.line, set()
        for i in self.places.pop(pair):
            if line.pair(i) != pair:
                continue
            for j in (line.before[i], line.after[i]):
                self.counts[line.pair(j)] -= self.weight[i]  # at the end of a chunk a pair with NONE, never looked at
            line.join(i, new)
            for j in (line.before[i], i):
                if NONE not in (neighbours := line.pair(j)):
                    self._add(neighbours, j)
                    made.add(neighbours)
        return {pair for pair in made if self.counts[pair]}

    def _add(self, pair: tuple[int, int], i: int) -> None:
        self.counts[pair] += self.weight[i]
        self.places[pair].append(i)
