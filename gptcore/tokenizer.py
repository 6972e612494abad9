"""Text to ids and back, by characters or by byte pairs. Built by hand in notebooks/03_bpe_tokenization.ipynb.

(`CharTokenizer` already in notebooks/01_bigram_models.ipynb.) The ids of both kinds are 0, 1, 2, ... without a hole;
the last is the special token `<|endoftext|>`, which stands before and after a document and is never read from a text.
"""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import regex
from jaxtyping import Int64

from .bpe import learn_merges, replay_merges
from .corpora import END_OF_TEXT
from .files import atomic_write

__all__ = ["GPT2_PATTERN", "GPT4_PATTERN", "BPETokenizer", "CharTokenizer", "Tokenizer", "encode_document",
           "load_tokenizer"]

# How GPT-2 and GPT-4 (cl100k) cut a text into chunks that no token may cross.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT4_PATTERN = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
                r"|\s+(?!\S)|\s+")
PATTERN_NAMES = {GPT2_PATTERN: "gpt2", GPT4_PATTERN: "gpt4", None: "none"}
FORMAT, VERSION = "gptcore tokenizer", 1


class Tokenizer:
    """What both kinds share: a list with the bytes of each id, the special token last with none."""

    def __init__(self, vocabulary: list[bytes]):
        self._bytes = [*vocabulary, b""]

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the special token counted."""
        return len(self._bytes)

    @property
    def end_of_text(self) -> int:
        """The id of `<|endoftext|>`."""
        return len(self._bytes) - 1

    @property
    def hash(self) -> str:
        """First 12 hex digits of sha256 over all that decides how a text becomes ids."""
        return _hash(self._content())

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises ValueError when it holds `<|endoftext|>`: user text must not end a document."""
        _refuse_special(text)
        return self._encode(text)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of the ids. Bytes that are not UTF-8, as a model may write them, become the sign U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, token: SupportsIndex) -> bytes:
        """The bytes that one id stands for; none for the special token."""
        if not 0 <= int(token) < self.vocab_size:
            raise ValueError(f"id {int(token)} is not in the vocabulary; ids go from 0 to {self.vocab_size - 1}")
        return self._bytes[token]

    def save(self, path: str | Path) -> None:
        """Write one JSON file that people can read too; load_tokenizer reads it."""
        content = json.dumps(self._content() | {"hash": self.hash}, indent=1, ensure_ascii=False)
        with atomic_write(path) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")

    def _encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def _content(self) -> dict:
        raise NotImplementedError


class CharTokenizer(Tokenizer):
    """One id for each character of the training text, in the order of their code points.

    >>> tokenizer = CharTokenizer.train(["hello"])
    >>> tokenizer.encode("hole"), tokenizer.decode([1, 0, 2, 3]), tokenizer.vocab_size
    ([1, 3, 2, 0], 'helo', 5)
    """

    def __init__(self, characters: str):
        if not characters or list(characters) != sorted(set(characters)):
            raise ValueError("characters must be sorted, each once, and at least one; CharTokenizer.train sees to that")
        super().__init__([character.encode() for character in characters])
        self.characters = characters
        self._ids = {character: i for i, character in enumerate(characters)}

    @classmethod
    def train(cls, texts: str | Iterable[str]) -> "CharTokenizer":
        """Collect the characters of one text or of several."""
        return cls("".join(sorted(set().union(*_texts(texts)))))

    def _encode(self, text: str) -> list[int]:
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            character = error.args[0]
            raise ValueError(f"character {character!r} (U+{ord(character):04X}) at position {text.index(character)} is "
                             "not in the vocabulary; train on a text that holds it, or use BPE, which knows every byte"
                             ) from None

    def _content(self) -> dict:
        return {"format": FORMAT, "version": VERSION, "kind": "characters", "characters": self.characters,
                "special_tokens": {END_OF_TEXT: self.end_of_text}}

    def __repr__(self) -> str:
        return f"CharTokenizer(vocab_size={self.vocab_size})"


class BPETokenizer(Tokenizer):
    """Byte pair encoding: ids 0 to 255 are the bytes, id 256 + m stands for the two ids of merge number m.

    `pattern` cuts a text into chunks that no token crosses; None leaves it whole.

    >>> tokenizer = BPETokenizer([(97, 98), (256, 99)], pattern=None)
    >>> tokenizer.encode("abcab"), tokenizer.token_bytes(257)
    ([257, 256], b'abc')
    """

    def __init__(self, merges: Iterable[tuple[int, int]], pattern: str | None = GPT4_PATTERN):
        self.merges = list(merges)
        self.pattern = pattern
        joined = {pair: 256 + m for m, pair in enumerate(self.merges)}
        if len(joined) < len(self.merges):
            raise ValueError("a pair is merged twice; each merge must be another pair")
        vocabulary = [bytes([byte]) for byte in range(256)]
        for left, right in self.merges:
            if not (0 <= left < len(vocabulary) and 0 <= right < len(vocabulary)):
                raise ValueError(f"merge {(left, right)} makes id {len(vocabulary)}, so it may join smaller ids only")
            vocabulary.append(vocabulary[left] + vocabulary[right])
        super().__init__(vocabulary)
        self._split = _splitter(pattern)
        # Most chunks are words seen before. A whole text is not, and would only fill the memory.
        cached = lru_cache(maxsize=0 if pattern is None else 65_536)
        self._encode_chunk = cached(lambda chunk: replay_merges(chunk.encode(), joined))

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, pattern: str | None = GPT4_PATTERN,
              progress: bool = True) -> "BPETokenizer":
        """Learn merges from one text or from several, until `vocab_size` ids (bytes and `<|endoftext|>` counted) exist.

        Each merge takes the pair of neighbours that occurs most often; among equals, the one that occurs first. When no
        pair is left the vocabulary stays smaller, with a warning. No pair crosses from one text into the next.
        """
        if vocab_size < 257:
            raise ValueError(f"vocab_size={vocab_size} is below 257, which the 256 bytes and {END_OF_TEXT} need")
        split = _splitter(pattern)
        chunks = Counter(chunk.encode() for text in _texts(texts) for chunk in split(text))
        merges = learn_merges(chunks, vocab_size - 257, progress)
        if len(merges) < vocab_size - 257:
            warnings.warn(f"no pair is left after {len(merges)} merges: vocab_size is {len(merges) + 257}, not the "
                          f"{vocab_size} asked for; train on more text", stacklevel=2)
        return cls(merges, pattern)

    def _encode(self, text: str) -> list[int]:
        ids = []
        for chunk in self._split(text):
            ids.extend(self._encode_chunk(chunk))
        return ids

    def _content(self) -> dict:
        return {"format": FORMAT, "version": VERSION, "kind": "bpe", "pattern_name": self.pattern_name,
                "pattern": self.pattern, "special_tokens": {END_OF_TEXT: self.end_of_text},
                "merges": [f"{left} {right}" for left, right in self.merges]}

    @property
    def pattern_name(self) -> str:
        """gpt2, gpt4, none, or custom."""
        return PATTERN_NAMES.get(self.pattern, "custom")

    def __repr__(self) -> str:
        return f"BPETokenizer(vocab_size={self.vocab_size}, pattern={self.pattern_name})"


def _splitter(pattern: str | None) -> Callable[[str], list[str]]:
    """A function that cuts a text into chunks, and refuses to lose a character of it."""
    if pattern is None:
        return lambda text: [text] if text else []
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression: {error}") from None
    if compiled.groups:
        raise ValueError(f"pattern {pattern!r} has groups that capture; write (?:...) instead of (...)")

    def split(text: str) -> list[str]:
        chunks = compiled.findall(text)
        if sum(map(len, chunks)) != len(text):
            raise ValueError(f"pattern {pattern!r} skips characters of the text; end it with |[\\s\\S] to keep them")
        return chunks

    return split


def _texts(texts: str | Iterable[str]) -> Iterator[str]:
    """One text or several, each looked at for `<|endoftext|>`."""
    for text in [texts] if isinstance(texts, str) else texts:
        _refuse_special(text)
        yield text


def _refuse_special(text: str) -> None:
    if (at := text.find(END_OF_TEXT)) >= 0:
        raise ValueError(f"the text holds {END_OF_TEXT} at character {at}, and a text cannot end a document; remove "
                         "it, or cut the text there and put the id `end_of_text` between the ids of the two sides")


def encode_document(tokenizer: Tokenizer, text: str) -> Int64[np.ndarray, "T"]:
    """The ids of a whole document with `<|endoftext|>` on both sides: a first context, and a way to say it is done.

    >>> encode_document(CharTokenizer("ab"), "ba")
    array([2, 1, 0, 2])
    """
    return np.array([tokenizer.end_of_text, *tokenizer.encode(text), tokenizer.end_of_text], dtype=np.int64)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read what `Tokenizer.save` wrote. Raises ValueError, naming the file, when it is foreign or was damaged."""
    path = Path(path)
    try:
        return _from_content(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be used as a tokenizer: {error}; save or train it again") from None


def _from_content(content) -> Tokenizer:
    """Rebuild a tokenizer from its file's content, which is trusted only after its hash was found right."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("gptcore did not write it")
    if content.get("version") != VERSION:
        raise ValueError(f"it has version {content.get('version')} and this gptcore reads {VERSION}")
    if content.pop("hash", None) != _hash(content):
        raise ValueError("its hash does not match its content, so it was edited or damaged")
    if content["kind"] == "characters":
        return CharTokenizer(content["characters"])
    return BPETokenizer([tuple(map(int, merge.split())) for merge in content["merges"]], content["pattern"])


def _hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
