"""The tokens of a BPETokenizer in GPT-2's letters, in which tokenizer.json and GGUF write bytes."""

import importlib
from types import ModuleType

from gptcore.tokenizer import BPETokenizer

__all__ = ["byte_letters", "needed", "spelled", "vocabulary"]


def vocabulary(tokenizer: BPETokenizer) -> list[bytes]:
    """The bytes of each id that is not special; other tools look ids up by their bytes, so these must differ."""
    tokens, ids = [tokenizer.token_bytes(i) for i in range(256 + len(tokenizer.merges))], {}
    for i, raw in enumerate(tokens):
        if (first := ids.setdefault(raw, i)) != i:
            raise ValueError(f"ids {first} and {i} both stand for {raw!r}, which only gptcore can tell apart; train "
                             "another tokenizer")
    return tokens


def byte_letters() -> list[str]:
    """GPT-2's letter for each byte: itself where it can be printed, one from U+0100 on where not.

    >>> "".join(byte_letters()[byte] for byte in "a née\\n".encode())
    'aĠnÃ©eĊ'
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def spelled(tokenizer: BPETokenizer) -> tuple[list[str], list[tuple[str, str]]]:
    """The tokens that are not special, in the order of their ids, and the merges.

    >>> tokens, merges = spelled(BPETokenizer([(32, 97), (256, 98)]))
    >>> tokens[255:], merges
    (['ÿ', 'Ġa', 'Ġab'], [('Ġ', 'a'), ('Ġa', 'b')])
    """
    letters = byte_letters()
    tokens = ["".join(letters[byte] for byte in raw) for raw in vocabulary(tokenizer)]
    if taken := sorted(tokenizer.special_tokens.keys() & set(tokens)):
        raise ValueError(f"{', '.join(taken)} is both a special token and an ordinary one; rename the special one")
    return tokens, [(tokens[left], tokens[right]) for left, right in tokenizer.merges]


def needed(package: str) -> ModuleType:
    """Import an optional package, or raise ModuleNotFoundError with what to install."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"this needs the package {package}: pip install {package}") from None
