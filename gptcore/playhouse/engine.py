"""One grammar, three readings: write a text, score a text, know the next character.

A grammar is a function that calls `choose(options, kind)` and nothing else to make its text. Every choice writes the text
it picks at once, and the texts offered by one choice are prefix-free, so a finished text has exactly one derivation. The
same function can therefore be run by three interpreters:

- `Writer` draws each choice at random;
- `Scorer` reads a finished text and finds the probability of every choice, hence of every character;
- `Prophet` reads an unfinished text and knows the exact distribution of its next character.
"""
import random
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from math import inf, log

import numpy as np

__all__ = ["END", "Bags", "Derivation", "LeftGrammar", "Options", "Writer", "next_characters", "only", "score", "write"]

END = ""  # what `next_characters` calls the end of the text


class LeftGrammar(ValueError):
    """The text is none that the grammar can write; `position` is the first character that cannot stand where it stands."""

    def __init__(self, position: int):
        super().__init__(f"no derivation: the text leaves the grammar at character {position}")
        self.position = position


class Options(dict):
    """Texts that one choice may write, each with its probability.

    Takes weights (text -> weight, normalised here) or plain texts (equally likely). Raises ValueError when a text is empty,
    a weight is not positive, or one text begins another: such a choice could be read in two ways.

    >>> Options(["lamp ", "lamps "])
    {'lamp ': 0.5, 'lamps ': 0.5}
    >>> Options(["lamp", "lamps"])
    Traceback (most recent call last):
    ValueError: 'lamp' begins 'lamps': a text could be read in two ways; let both end in their delimiter
    """

    def __init__(self, weights: Mapping[str, float | int] | Iterable[str]):
        weights = dict(weights) if isinstance(weights, Mapping) else dict.fromkeys(weights, 1.0)
        total = sum(weights.values())
        super().__init__((text, weight / total) for text, weight in weights.items())
        if min(weights.values()) <= 0:
            raise ValueError(f"weights must be positive: {min(weights, key=weights.get)!r} has {min(weights.values())}")
        ordered = sorted(self)  # a text that begins any other begins its successor
        for text, successor in pairwise(ordered):
            if successor.startswith(text):
                raise ValueError(f"{text!r} begins {successor!r}: a text could be read in two ways; "
                                 "let both end in their delimiter")
        if "" in self:
            raise ValueError("an option must write at least one character: a choice that writes nothing is hidden")
        self.texts = tuple(self)
        self.cumulative = tuple(accumulate(self.values()))
        self.lengths = tuple(sorted({len(text) for text in self}))
        self.surprisals: dict[str, list[float]] = {}

    def draw(self, u: float) -> str:
        """The option that the number u, uniform in [0, 1), falls on."""
        return self.texts[min(bisect_right(self.cumulative, u), len(self.texts) - 1)]

    def read(self, text: str, position: int) -> str | None:
        """The one option that stands at `position` of the text, or None."""
        for length in self.lengths:
            if (piece := text[position:position + length]) in self:
                return piece
        return None

    def reach(self, text: str, position: int) -> int:
        """The first position at which no option that began at `position` goes on as the text does."""
        end = position
        while end < len(text) and self.continuations(text[position:end + 1]):
            end += 1
        return end

    def continuations(self, start: str) -> dict[str, float]:
        """Distribution of the character after `start`, the beginning of an option; empty if no option begins so."""
        mass: dict[str, float] = {}
        for text, p in self.items():
            if text.startswith(start):
                character = text[len(start):len(start) + 1] or END
                mass[character] = mass.get(character, 0.0) + p
        total = sum(mass.values())
        return {character: p / total for character, p in mass.items()}

    def nats(self, option: str) -> list[float]:
        """Surprisal of each character of an option, given those before it; they add up to -log of its probability."""
        if option not in self.surprisals:
            alive, before, nats = list(self.items()), 1.0, []
            for i, character in enumerate(option):
                alive = [(text, p) for text, p in alive if text[i] == character]
                mass = self[option] if len(alive) == 1 else sum(p for _, p in alive)
                nats.append(log(before / mass))
                before = mass
            self.surprisals[option] = nats
        return self.surprisals[option]


@cache
def only(text: str) -> Options:
    """The choice that leaves no choice: a fixed text."""
    return Options([text])


Grammar = Callable[[Callable[..., str]], None]


class Writer:
    """Interpreter that writes: each choice is drawn with `random.Random(seed).random()`.

    That stream is the one part of `random` that Python promises to keep the same in every version.
    """

    def __init__(self, seed: int):
        self.random = random.Random(seed).random
        self.pieces: list[str] = []
        self.length = 0

    def __call__(self, options: Options, kind: str = "order", blind: Options | None = None) -> str:
        piece = options.draw(self.random())
        self.pieces.append(piece)
        self.length += len(piece)
        return piece


@dataclass
class Bags:
    """How often each letter and each word is written: all that a reader knows who cannot spell, or knows no word order.

    `spelling` counts the letters of the spelled words, with END after each; `order` counts the words of the fixed phrases.
    """

    spelling: Counter = field(default_factory=Counter)
    order: Counter = field(default_factory=Counter)

    def units(self, kind: str, option: str) -> list[str]:
        return [*option, END] if kind == "spelling" else re.findall(r"\S+\s*|\s+", option)

    def nats(self, kind: str, option: str) -> list[float]:
        """Surprisal of each character, when the units of the option are drawn from the bag one by one."""
        bag = getattr(self, kind)
        costs = [-log((bag[unit] or 0.5) / bag.total()) for unit in self.units(kind, option)]  # 0.5: never seen
        if kind == "spelling":  # the end of the word is charged to its last letter
            return [*costs[:-2], costs[-2] + costs[-1]]
        nats = [0.0] * len(option)
        nats[0] = sum(costs)
        return nats


@dataclass(frozen=True)
class Derivation:
    """What a grammar knows about a text: `nats[i]` is the surprisal of character i, `kinds[i]` the kind of its choice.

    `left_at` is None for a text of the grammar; else it is the position where the text left the grammar, and the arrays
    end with the last choice before it.
    """

    nats: np.ndarray
    kinds: np.ndarray
    left_at: int | None = None

    @property
    def logprob(self) -> float:
        """Log probability of the whole text in nats; -inf for a text that the grammar cannot write."""
        return -inf if self.left_at is not None else -float(self.nats.sum())

    def by_kind(self) -> dict[str, float]:
        """Nats spent on each kind of choice, largest first."""
        sums = {str(kind): float(self.nats[self.kinds == kind].sum()) for kind in np.unique(self.kinds)}
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


class Scorer:
    """Interpreter that reads a finished text; with `blind` it does not see one kind of structure.

    At a choice of the blind kind it expects what the grammar calls `blind` (every name instead of the cast, every rhyme
    word instead of the partners). For spelling and order it draws single letters and single words from `bags`.
    """

    def __init__(self, text: str, blind: str | None = None, bags: Bags | None = None):
        self.text, self.blind, self.bags = text, blind, bags
        self.nats: list[float] = []
        self.choices: list[tuple[str, str]] = []  # (kind, text written)
        self.length = 0

    def __call__(self, options: Options, kind: str = "order", blind: Options | None = None) -> str:
        option = options.read(self.text, self.length)
        if option is None:
            raise LeftGrammar(options.reach(self.text, self.length))
        if kind != self.blind:
            nats = options.nats(option)
        else:
            nats = blind.nats(option) if blind else self.bags.nats(kind, option)
        self.nats += nats
        self.choices.append((kind, option))
        self.length += len(option)
        return option


class Found(Exception):
    def __init__(self, distribution: dict[str, float]):
        self.distribution = distribution


class Prophet:
    """Interpreter that reads an unfinished text and stops at the choice that writes its next character."""

    def __init__(self, text: str):
        self.text, self.length = text, 0

    def __call__(self, options: Options, kind: str = "order", blind: Options | None = None) -> str:
        option = options.read(self.text, self.length)
        if option is None:
            distribution = options.continuations(self.text[self.length:])
            if not distribution:
                raise LeftGrammar(options.reach(self.text, self.length))
            raise Found(distribution)
        self.length += len(option)
        return option


def write(grammar: Grammar, seed: int) -> str:
    """The text that the grammar writes with this seed: the same on every machine and every version of Python."""
    writer = Writer(seed)
    grammar(writer)
    return "".join(writer.pieces)


def score(grammar: Grammar, text: str, blind: str | None = None, bags: Bags | None = None) -> Derivation:
    """Surprisal and kind of every character of the text, in nats; blind to one kind of structure if asked.

    >>> def coin(choose):
    ...     choose(Options(["heads", "tails"]), "face")
    >>> float(score(coin, "tails").nats.sum() / log(2)), score(coin, "talks").left_at
    (1.0, 2)
    """
    scorer = Scorer(text, blind, bags)
    left_at = None
    try:
        grammar(scorer)
        if scorer.length < len(text):
            left_at = scorer.length
    except LeftGrammar as stopped:
        left_at = stopped.position
    kinds = np.repeat([kind for kind, _ in scorer.choices], [len(option) for _, option in scorer.choices])
    return Derivation(np.array(scorer.nats, dtype=float), kinds, left_at)


def count_bags(grammar: Grammar, texts: Iterable[str]) -> Bags:
    """The letters and words of texts of the grammar, for the scorers that are blind to spelling and to order."""
    bags = Bags()
    for text in texts:
        grammar(scorer := Scorer(text))
        for kind, option in scorer.choices:
            if kind in ("spelling", "order"):
                getattr(bags, kind).update(bags.units(kind, option))
    return bags


def next_characters(grammar: Grammar, prefix: str) -> dict[str, float]:
    """Exact distribution of the character that follows `prefix`; END stands for the end of the text.

    Raises LeftGrammar if no text of the grammar begins so.

    >>> def coin(choose):
    ...     choose(Options(["heads", "hare", "tails"]), "face")
    >>> next_characters(coin, "h"), next_characters(coin, "tails") == {END: 1.0}
    ({'e': 0.5, 'a': 0.5}, True)
    """
    prophet = Prophet(prefix)
    try:
        grammar(prophet)
    except Found as found:
        return found.distribution
    if prophet.length < len(prefix):
        raise LeftGrammar(prophet.length)
    return {END: 1.0}
