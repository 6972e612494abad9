"""A tokenizer as tiktoken has it, a table of ranks, and back."""

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.bpe import replay_merges
from gptcore.export.letters import needed, vocabulary
from gptcore.tokenizer import GPT2_PATTERN, BPETokenizer, Tokenizer

if TYPE_CHECKING:
    import tiktoken

__all__ = ["from_tiktoken", "published_tokenizer", "save_tiktoken", "to_tiktoken"]

WHOLE = r"(?s:.+)"  # a text left in one piece, as a pattern
# What tiktoken calls GPT-2's pattern: it cuts every text at the same places as the published one, without going back.
UNRETURNING = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
HOW = """
```python
import json
from pathlib import Path

import tiktoken
from tiktoken.load import load_tiktoken_bpe

folder = Path(".")  # where this file lies
about = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
ranks = load_tiktoken_bpe(str(folder / about["ranks"]), about["sha256"])
encoding = tiktoken.Encoding("gptcore", pat_str=about["pat_str"], mergeable_ranks=ranks,
                             special_tokens=about["special_tokens"])
print(encoding.encode("Once upon a time"))
```"""


def to_tiktoken(tokenizer: BPETokenizer, name: str = "gptcore") -> "tiktoken.Encoding":
    """An Encoding with the same ids, for `encode_ordinary` and for `encode` with allowed_special.

    >>> to_tiktoken(BPETokenizer([(97, 98), (256, 99)])).encode("abcab")
    [257, 256]
    """
    ranks = {raw: i for i, raw in enumerate(vocabulary(tokenizer))}
    return needed("tiktoken").Encoding(name, pat_str=tokenizer.pattern or WHOLE, mergeable_ranks=ranks,
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
    pattern = {WHOLE: None, UNRETURNING: GPT2_PATTERN}.get(encoding._pat_str, encoding._pat_str)
    return BPETokenizer(joined, pattern, encoding._special_tokens, byte_order)


def published_tokenizer(name: str) -> BPETokenizer:
    """The tokenizer that tiktoken knows by this name, such as gpt2; tiktoken fetches its table once and keeps it.

    Raises ValueError for an unknown name, and OSError where the table is not on this machine and cannot be fetched.
    """
    tiktoken = needed("tiktoken")
    if name not in (names := tiktoken.list_encoding_names()):
        raise ValueError(f"tiktoken knows no {name!r}; it knows {', '.join(names)}")
    try:
        return from_tiktoken(tiktoken.get_encoding(name))
    except OSError as error:  # every network error of requests is one
        raise OSError(f"tiktoken has no table for {name} on this machine and cannot fetch it ({type(error).__name__}). Run "
                      "it once with a network, and let TIKTOKEN_CACHE_DIR name the folder that it fills; or train a "
                      "tokenizer: bpe:4096") from error


def save_tiktoken(tokenizer: Tokenizer, folder: Path) -> str:
    """Write the table of ranks that `tiktoken.load` reads, and the rest in encoding.json. Returns how to open them.

    tiktoken keeps a copy of each table it has read, by its path; the checksum makes it notice another one.
    """
    if not isinstance(tokenizer, BPETokenizer):
        raise ValueError(f"tiktoken knows byte pairs only, and this is {tokenizer!r}; train with --tokenizer bpe:2000")
    table = b"".join(base64.b64encode(raw) + f" {i}\n".encode() for i, raw in enumerate(vocabulary(tokenizer)))
    (folder / "ranks.tiktoken").write_bytes(table)
    about = {"pat_str": tokenizer.pattern or WHOLE, "special_tokens": tokenizer.special_tokens,
             "ranks": "ranks.tiktoken", "sha256": hashlib.sha256(table).hexdigest()}
    (folder / "encoding.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return HOW
