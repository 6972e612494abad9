"""Byte pair tokenizers in the forms of the tools that people use, tiktoken and Hugging Face: the same ids everywhere."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from .bpe import replay_merges
from .files import atomic_write
from .tokenizer import BPETokenizer

if TYPE_CHECKING:
    import tiktoken

__all__ = ["from_tiktoken", "published_tokenizer", "to_huggingface", "to_tiktoken"]


def to_tiktoken(tokenizer: BPETokenizer, name: str = "gptcore") -> "tiktoken.Encoding":
    """An Encoding with the same ids, for `encode_ordinary` and for `encode` with allowed_special.

    >>> to_tiktoken(BPETokenizer([(97, 98), (256, 99)])).encode("abcab")
    [257, 256]
    """
    ranks = {raw: i for i, raw in enumerate(_vocabulary(tokenizer))}
    return _needed("tiktoken").Encoding(name, pat_str=tokenizer.pattern or r"(?s:.+)", mergeable_ranks=ranks,
                                        special_tokens=tokenizer.special_tokens)


def from_tiktoken(encoding: "tiktoken.Encoding") -> BPETokenizer:
    r"""The tokenizer with the ids of an Encoding, such as GPT-2's or GPT-4's: `from_tiktoken(get_encoding("gpt2"))`.

    An Encoding knows each token's bytes and rank, not the two tokens that were joined: those are what the earlier merges
    leave of its bytes. Raises ValueError where they leave more than two, since no training can have made that table.

    >>> from_tiktoken(to_tiktoken(BPETokenizer([(97, 98), (256, 99)]))).merges
    [(97, 98), (256, 99)]
    """
    ranks = encoding._mergeable_ranks
    tokens = sorted(ranks, key=ranks.__getitem__)
    if [ranks[token] for token in tokens] != list(range(len(tokens))) or {len(token) for token in tokens[:256]} != {1}:
        raise ValueError(f"the ids of {encoding.name} are not the 256 bytes and then the merges, without a hole")
    byte_order = b"".join(tokens[:256])
    byte_ids = bytes.maketrans(byte_order, bytes(range(256)))
    joined = {}
    for new, token in enumerate(tokens[256:], start=256):
        pair = tuple(replay_merges(token.translate(byte_ids), joined))
        if len(pair) != 2:
            raise ValueError(f"token {new} of {encoding.name}, {token!r}, is not two earlier tokens joined but {len(pair)}")
        joined[pair] = new
    whole = encoding._pat_str == r"(?s:.+)"
    return BPETokenizer(joined, None if whole else encoding._pat_str, encoding._special_tokens, byte_order)


def published_tokenizer(name: str) -> BPETokenizer:
    """The tokenizer that tiktoken knows by this name, such as gpt2; tiktoken fetches its table once and keeps it.

    Raises ValueError for an unknown name, and OSError where the table is not on this machine and cannot be fetched.
    """
    tiktoken = _needed("tiktoken")
    if name not in (names := tiktoken.list_encoding_names()):
        raise ValueError(f"tiktoken knows no {name!r}; it knows {', '.join(names)}")
    try:
        return from_tiktoken(tiktoken.get_encoding(name))
    except OSError as error:  # every network error of requests is one
        raise OSError(f"tiktoken has no table for {name} on this machine and cannot fetch it ({type(error).__name__}). Run "
                      "it once with a network, and let TIKTOKEN_CACHE_DIR name the folder that it fills; or train a "
                      "tokenizer: bpe:4096") from error


def to_huggingface(tokenizer: BPETokenizer, path: str | Path) -> None:
    """Write the tokenizer.json that `tokenizers.Tokenizer.from_file` and `PreTrainedTokenizerFast(tokenizer_file=...)` open.

    Both read special tokens from any text, unasked: their ids are those of `encode(text, allowed_special="all")`.
    """
    tokenizers = _needed("tokenizers")
    letters = _byte_letters()
    names = ["".join(letters[byte] for byte in raw) for raw in _vocabulary(tokenizer)]
    vocabulary = {name: i for i, name in enumerate(names)}
    if taken := vocabulary.keys() & tokenizer.special_tokens.keys():
        raise ValueError(f"{', '.join(sorted(taken))} is both a special token and an ordinary one")
    model = tokenizers.models.BPE(vocabulary | tokenizer.special_tokens,
                                  [(names[left], names[right]) for left, right in tokenizer.merges])
    converted = tokenizers.Tokenizer(model)
    steps = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    if tokenizer.pattern is not None:
        # A plain string in place of the Regex would be searched for literally, and never be found.
        steps.insert(0, tokenizers.pre_tokenizers.Split(tokenizers.Regex(tokenizer.pattern), "isolated"))
    converted.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    converted.decoder = tokenizers.decoders.ByteLevel()
    converted.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False)
                                  for name in tokenizer.special_tokens])
    with atomic_write(path) as temporary:
        converted.save(str(temporary))


def _vocabulary(tokenizer: BPETokenizer) -> list[bytes]:
    """The bytes of each id that is not special; other tools look ids up by their bytes, so these must differ."""
    vocabulary, ids = [tokenizer.token_bytes(i) for i in range(256 + len(tokenizer.merges))], {}
    for i, raw in enumerate(vocabulary):
        if (first := ids.setdefault(raw, i)) != i:
            raise ValueError(f"ids {first} and {i} both stand for {raw!r}, which only gptcore can tell apart")
    return vocabulary


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: itself where it can be printed, one from U+0100 on where not."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _needed(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"this needs the package {package}: pip install {package}") from None
