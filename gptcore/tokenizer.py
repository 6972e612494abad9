"""Text to ids and back, by characters or by byte pairs. Built by hand in notebooks/03_bpe_tokenization.ipynb.

(`CharTokenizer` already in notebooks/01_bigram_models.ipynb.) The ids of both kinds are 0, 1, 2, ... without a hole;
the last is the special token `<|endoftext|>`, which stands before and after a document and is read from a text only when
`BPETokenizer.encode` allows it. A BPETokenizer may have more of them, and other ids when it was read from elsewhere.
"""

import hashlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import regex
from jaxtyping import Int64
from tqdm.auto import tqdm

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
PLAIN_BYTES = bytes(range(256))
MOST_KEPT, LONGEST_KEPT = 2**18, 64  # words, characters: what a tokenizer remembers, about 50 MB at most
# In both patterns a space begins a chunk or lies within white space, and a letter is followed in its chunk by letters
# only. So a chunk always ends before a space that follows something else, and between an ASCII letter and an ASCII
# character that is none. Cutting a text there first, by re, is faster than by the pattern itself.
WORDS = re.compile(r" ?[A-Za-z]++(?![^\x00-\x7f])|\s*\S+(?:[^\S ]\s*\S*)*|\s+")


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

    `pattern` cuts a text into chunks that no token crosses; None leaves it whole. The ids of the `special_tokens` follow
    the merges, `<|endoftext|>` last, if they are a list; a mapping says them itself. `byte_order` lists the bytes in the
    order of their ids.

    >>> tokenizer = BPETokenizer([(97, 98), (256, 99)], pattern=None, special_tokens=["<|user|>"])
    >>> tokenizer.encode("abcab"), tokenizer.token_bytes(257), tokenizer.special_tokens
    ([257, 256], b'abc', {'<|user|>': 258, '<|endoftext|>': 259})
    >>> tokenizer.encode("<|user|>abc", allowed_special=["<|user|>"])
    [258, 257]
    """

    def __init__(self, merges: Iterable[tuple[int, int]], pattern: str | None = GPT4_PATTERN,
                 special_tokens: Iterable[str] | Mapping[str, int] = (), byte_order: bytes = PLAIN_BYTES):
        self.merges = list(merges)
        self.pattern = pattern
        self.byte_order = byte_order
        joined = {pair: 256 + m for m, pair in enumerate(self.merges)}
        if len(joined) < len(self.merges):
            raise ValueError("a pair is merged twice; each merge must be another pair")
        if sorted(byte_order) != list(PLAIN_BYTES):
            raise ValueError("byte_order must hold each of the 256 bytes once")
        vocabulary = [bytes([byte]) for byte in byte_order]
        for left, right in self.merges:
            if not (0 <= left < len(vocabulary) and 0 <= right < len(vocabulary)):
                raise ValueError(f"merge {(left, right)} makes id {len(vocabulary)}, so it may join smaller ids only")
            vocabulary.append(vocabulary[left] + vocabulary[right])
        self.special_tokens = _special_ids(special_tokens, len(vocabulary))
        super().__init__(vocabulary + [b""] * (max(self.special_tokens.values()) - len(vocabulary)))
        byte_ids = bytes.maketrans(byte_order, PLAIN_BYTES)
        self._cut, split = _cutters(pattern)
        chunk_ids = _Remembered(lambda chunk: tuple(replay_merges(chunk.encode().translate(byte_ids), joined)))

        def ids_of(word: str) -> tuple[int, ...]:
            chunks = split(word)
            return chunk_ids[word] if len(chunks) == 1 else tuple(chain.from_iterable(map(chunk_ids.__getitem__, chunks)))

        self._ids = _Remembered(ids_of)

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, pattern: str | None = GPT4_PATTERN,
              special_tokens: Iterable[str] = (), verbose: bool = False, progress: bool = True) -> "BPETokenizer":
        """Learn merges from one text or from several, until `vocab_size` ids (bytes and special tokens counted) exist.

        Each merge takes the pair of neighbours that occurs most often; among equals, the one that occurs first. When no
        pair is left the vocabulary stays smaller, with a warning. No pair crosses from one text into the next. `verbose`
        prints each merge; otherwise `progress` shows a bar. Raises ValueError when a text holds a special token.
        """
        specials = _special_ids(special_tokens, 256)
        n_merges = vocab_size - 256 - len(specials)
        if n_merges < 0:
            raise ValueError(f"vocab_size={vocab_size} is below {256 + len(specials)}, which the 256 bytes and "
                             f"{', '.join(specials)} need")
        (cut, split), words, chunks = _cutters(pattern), Counter(), Counter()
        for text in _texts(texts, specials):
            words.update(cut(text))
        for word, count in words.items():
            for chunk in split(word):
                chunks[chunk] += count
        with _told(n_merges, verbose, progress) as tell:
            merges = learn_merges({chunk.encode(): count for chunk, count in chunks.items()}, n_merges, tell)
        if len(merges) < n_merges:
            warnings.warn(f"no pair is left after {len(merges)} merges: vocab_size is {256 + len(merges) + len(specials)}, "
                          f"not the {vocab_size} asked for; train on more text", stacklevel=2)
        return cls(merges, pattern, specials.keys())

    @property
    def end_of_text(self) -> int:
        """The id of `<|endoftext|>`."""
        return self.special_tokens[END_OF_TEXT]

    def encode(self, text: str, allowed_special: Collection[str] = ()) -> list[int]:
        """The ids of a text, in which the special tokens of `allowed_special` ("all", or a list) become their ids.

        Raises ValueError when it holds another one: user text must not end a document.
        """
        allowed = self.special_tokens if allowed_special == "all" else allowed_special
        if isinstance(allowed, str) or not set(allowed) <= self.special_tokens.keys():
            raise ValueError(f"allowed_special={allowed_special!r} must be \"all\" or a list out of "
                             f"{', '.join(self.special_tokens)}")
        _refuse_special(text, [name for name in self.special_tokens if name not in allowed])
        ids, longest_first = [], sorted(allowed, key=len, reverse=True)
        for i, part in enumerate(re.split(f"({'|'.join(map(re.escape, longest_first))})", text) if allowed else [text]):
            ids += [self.special_tokens[part]] if i % 2 else self._encode(part)
        return ids

    def decode(self, ids: Iterable[SupportsIndex], special_tokens: bool = False) -> str:
        """The text of the ids, without special tokens or, when asked for, with their names."""
        names = {i: name.encode() for name, i in self.special_tokens.items()} if special_tokens else {}
        return b"".join(names.get(int(i)) or self.token_bytes(i) for i in ids).decode("utf-8", errors="replace")

    def _encode(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._ids.__getitem__, self._cut(text))))

    def save_listing(self, path: str | Path) -> None:
        """Write the vocabulary for people: a line for each id, with its text and, after a merge, what was joined."""
        names = {i: name for name, i in self.special_tokens.items()}
        lines = [f"{i}  {names.get(i) or _quoted(raw)}" for i, raw in enumerate(self._bytes) if raw or i in names]
        for i, pair in enumerate(self.merges, start=256):
            lines[i] += " = " + " + ".join(_quoted(self._bytes[part]) for part in pair)
        with atomic_write(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _content(self) -> dict:
        order = {} if self.byte_order == PLAIN_BYTES else {"byte_order": self.byte_order.hex()}
        return {"format": FORMAT, "version": VERSION, "kind": "bpe", "pattern_name": self.pattern_name,
                "pattern": self.pattern, "special_tokens": self.special_tokens, **order,
                "merges": [f"{left} {right}" for left, right in self.merges]}

    @property
    def pattern_name(self) -> str:
        """gpt2, gpt4, none, or custom."""
        return PATTERN_NAMES.get(self.pattern, "custom")

    def __repr__(self) -> str:
        return f"BPETokenizer(vocab_size={self.vocab_size}, pattern={self.pattern_name})"


@contextmanager
def _told(n_merges: int, verbose: bool, progress: bool) -> Iterator[Callable[[tuple[int, int], int], None]]:
    """Yield a function to be told of each merge: it prints the merge, or moves a bar."""
    vocabulary = [bytes([byte]) for byte in PLAIN_BYTES]
    with tqdm(total=n_merges, desc="merges", disable=verbose or not progress) as bar:
        def tell(pair: tuple[int, int], count: int) -> None:
            bar.update()
            if verbose:
                new = len(vocabulary)
                vocabulary.append(vocabulary[pair[0]] + vocabulary[pair[1]])
                print(f"merge {new - 255}/{n_merges}: {pair} -> {new} ({_quoted(vocabulary[new])}) {count:,} occurrences")
        yield tell


class _Remembered(dict):
    """What a function gave for a short string, kept for the next time while there is room: most words were seen before."""

    def __init__(self, function: Callable[[str], tuple[int, ...]]):
        self._function = function

    def __missing__(self, key: str) -> tuple[int, ...]:
        ids = self._function(key)
        if len(key) <= LONGEST_KEPT and len(self) < MOST_KEPT:
            self[key] = ids
        return ids


def _cutters(pattern: str | None) -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    """What cuts a text into words, and a word into chunks; together they make the chunks of the pattern."""
    split = _splitter(pattern)
    return (WORDS.findall, split) if pattern in (GPT2_PATTERN, GPT4_PATTERN) else (split, lambda chunk: [chunk])


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

    if pattern in PATTERN_NAMES:
        return compiled.findall

    def split(text: str) -> list[str]:
        chunks = compiled.findall(text)
        if sum(map(len, chunks)) != len(text):
            raise ValueError(f"pattern {pattern!r} skips characters of the text; end it with |[\\s\\S] to keep them")
        return chunks

    return split


def _special_ids(special_tokens: Iterable[str] | Mapping[str, int], first: int) -> dict[str, int]:
    """The id of each special token: as given, or one after the other from `first`. `<|endoftext|>` is always one."""
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens={special_tokens!r} is one string; write a list, [{special_tokens!r}]")
    if not isinstance(special_tokens, Mapping):
        names = [name for name in special_tokens if name != END_OF_TEXT] + [END_OF_TEXT]
        if len(set(names)) < len(names):
            raise ValueError(f"a special token stands twice in {names}")
        special_tokens = {name: first + i for i, name in enumerate(names)}
    ids = dict(special_tokens)
    ids.setdefault(END_OF_TEXT, max([first - 1, *ids.values()]) + 1)
    if "" in ids:
        raise ValueError("a special token needs a name")
    if min(ids.values()) < first or len(set(ids.values())) < len(ids):
        raise ValueError(f"the ids of the special tokens must differ and be at least {first}, not {ids}")
    return ids


def _texts(texts: str | Iterable[str], special_tokens: Iterable[str] = (END_OF_TEXT,)) -> Iterator[str]:
    """One text or several, each looked at for special tokens."""
    for text in [texts] if isinstance(texts, str) else texts:
        _refuse_special(text, special_tokens)
        yield text


def _refuse_special(text: str, special_tokens: Iterable[str] = (END_OF_TEXT,)) -> None:
    if held := [name for name in special_tokens if name in text]:
        raise ValueError(f"the text holds {held[0]} at character {text.index(held[0])}, a special token, which is no text; "
                         "remove it, or cut the text there (and put the id of the token between the ids of the two sides), "
                         "or let BPETokenizer.encode read it, by allowed_special")


def _quoted(raw: bytes) -> str:
    """Bytes for people: as text where they are UTF-8.

    >>> _quoted("é\\n".encode()), _quoted("é".encode()[:1])
    ("'é\\\\n'", "b'\\\\xc3'")
    """
    try:
        return repr(raw.decode())
    except UnicodeDecodeError:
        return repr(raw)


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
    order = bytes.fromhex(content["byte_order"]) if "byte_order" in content else PLAIN_BYTES
    merges = [tuple(map(int, merge.split())) for merge in content["merges"]]
    return BPETokenizer(merges, content["pattern"], content["special_tokens"], order)


def _hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
