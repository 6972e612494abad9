"""The Playhouse: the embedded corpus, and the exact probability of everything in it. Met first in 00_start_here.ipynb.

The little plays are written by one grammar (`grammar.py`, its words in `lexicon.py`, its lines in `lines.py`), which three
interpreters run (`engine.py`): they write a scene, score it, or know its next character. So the entropy of the corpus is
known, and with it the loss that no model can go below. `reader.py` judges what a model writes.
"""
from collections.abc import Iterable
from functools import cache

from . import engine
from .engine import END, Derivation, LeftGrammar, Options
from .grammar import KINDS, LONGEST, scene
from .reader import Verdict, judge

__all__ = ["END", "KINDS", "LONGEST", "SCENES", "Derivation", "LeftGrammar", "Options", "Verdict", "corpus_text", "judge",
           "next_characters", "score", "write"]

SCENES = 1270  # of the corpus: those that the seeds 0, 1, ... write


def write(seed: int) -> str:
    """A scene. Seeds from SCENES on give text that no file holds, without end.

    >>> print(write(0).split(chr(10))[0])
    Swallow the snapped cushion
    """
    return engine.write(scene, seed)


def score(text: str, blind: str | None = None) -> Derivation:
    """Exact surprisal of every character of a scene, in nats, with the kind of structure that it belongs to.

    With `blind`, one of KINDS, the surprisal for a reader who does not see that kind: what it costs more is what the kind is
    worth. Raises ValueError for an unknown kind.
    """
    if blind is not None and blind not in KINDS:
        raise ValueError(f"blind={blind!r} is no kind of structure; choose one of {', '.join(KINDS)}")
    return engine.score(scene, text, blind, bags() if blind in ("spelling", "order") else None)


def next_characters(prefix: str) -> dict[str, float]:
    """Exact distribution of the character after the beginning of a scene; END stands for the end of the scene.

    Raises LeftGrammar if no scene begins so.
    """
    return engine.next_characters(scene, prefix)


@cache
def bags() -> engine.Bags:
    """How often each letter and each word is written, counted in the first 400 scenes of the corpus."""
    return engine.count_bags(scene, map(write, range(400)))


def corpus_text(scenes: Iterable[int] = range(SCENES)) -> str:
    """The corpus as its file holds it: scenes with two empty lines between them."""
    return "\n\n".join(map(write, scenes))
