"""Token ids on disk, as many as you like: files mapped into memory, with an index.

    index.json           what was encoded, by which tokenizer, into which files, with their checksums
    tokenizer.json       the tokenizer
    documents.bin        predicted tokens (all of a document but its first) before each document, and in all, as int64
    tokens-00000.bin ... the ids of all documents, end to end, as uint16 or uint32, cut into files of equal size

Written by `tokenizing`. All numbers are little-endian; a document may begin in one file and end in the next.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int64, Integer
from tqdm.auto import tqdm

from gptcore.corpora import Corpus
from gptcore.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Shards", "Stream", "TokenFiles", "is_shards"]

FORMAT, VERSION = "gptcore shards", 1
INDEX, PROGRESS, TOKENIZER, DOCUMENTS = "index.json", "progress.json", "tokenizer.json", "documents.bin"
MOST_HELD_OUT = 2**18  # tokens for validation: more would make the error bar no use, and the evaluation slow
SAMPLE = 2**20         # tokens of training text for models that count


class TokenFiles:
    """Many files of `size` ids each (the last may have fewer) as one array, of which only what is asked for is read.

    >>> TokenFiles([np.array([5, 6, 7, 8]), np.array([9])], size=4)[np.array([[0, 1], [3, 4]])]
    array([[5, 6],
           [8, 9]])
    """

    def __init__(self, files: list[Integer[np.ndarray, "_"]], size: int):
        self.files, self.size = files, size

    def __getitem__(self, position: Int[np.ndarray, "*S"]) -> Int64[np.ndarray, "*S"]:
        flat = position.ravel()
        file = flat // self.size
        ids = np.empty(len(flat), np.int64)
        begins = np.flatnonzero(np.diff(file, prepend=-1))  # a run of positions in one file is read at once
        for begin, end in zip(begins, [*begins[1:], len(flat)]):
            ids[begin:end] = self.files[file[begin]][flat[begin:end] - file[begin] * self.size]
        return ids.reshape(position.shape)


@dataclass(frozen=True, eq=False)
class Stream:
    """Documents end to end: `before[d]` tokens are predicted before document d, and before[-1] in all.

    A document predicts all of its tokens but the first, so it begins at before[d] + d.

    >>> stream = Stream(np.array([9, 1, 2, 9, 9, 3, 9]), np.array([0, 3, 5]))
    >>> len(stream), stream.document(1)
    (2, array([9, 3, 9]))
    """

    ids: Int64[np.ndarray, "N"] | TokenFiles
    before: Int64[np.ndarray, "D1"]
    checksum: str = ""  # of what they were read from; empty if they are in memory

    def __len__(self) -> int:
        return len(self.before) - 1

    def document(self, d: int, most: int | None = None) -> Int64[np.ndarray, "T"]:
        """The ids of document d, or the first `most` of them."""
        begin, end = self.before[d] + d, self.before[d + 1] + d + 1
        return self.ids[np.arange(begin, end if most is None else min(end, begin + most))]


def is_shards(folder: str | Path) -> bool:
    """Is it a folder of shards, finished or not?"""
    return any((Path(folder) / name).is_file() for name in (INDEX, PROGRESS))


class Shards:
    """A finished folder of shards, open for reading: at once, whatever its size.

    That each file is there and as long as it should be is looked at now; `verify` reads them all. Raises ValueError.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            begun = "is not finished: start the same command again, and it goes on"
            none = f"holds no shards (it has no {INDEX}); make them with python -m gptcore tokenize"
            raise ValueError(f"{self.folder} {begun if is_shards(self.folder) else none}")
        self.index = read_index(self.folder / INDEX)
        self.tokenizer = tokenizer_of(self.folder, self.index)
        dtype = np.dtype(self.index["dtype"])
        files = [self._mapped(each["file"], dtype, each["tokens"]) for each in self.index["shards"]]
        before = self._mapped(DOCUMENTS, np.dtype("<i8"), self.index["documents"] + 1)
        self.all = Stream(TokenFiles(files, self.index["shard_tokens"]), before, index_hash(self.index))

    def __str__(self) -> str:
        about, files = self.index, len(self.index["shards"])
        return (f"{about['documents']:,} document{'s' * (about['documents'] != 1)} of {about['source']}, {about['bytes']:,} "
                f"bytes, {about['tokens']:,} tokens in {files} shard{'s' * (files != 1)}")

    def _mapped(self, name: str, dtype: np.dtype, length: int) -> Integer[np.ndarray, "_"]:
        path = self.folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != length * dtype.itemsize:
            what = "is missing" if found is None else f"has {found:,} bytes instead of {length * dtype.itemsize:,}"
            raise damaged(path, what)
        return np.asarray(np.memmap(path, dtype, "r"))  # without np.memmap's own bookkeeping, which is slow

    def verify(self, progress: bool = True) -> None:
        """Read every file and hold it to its checksum. Raises ValueError for the first that differs."""
        files = [DOCUMENTS, *(each["file"] for each in self.index["shards"])]
        sums = [self.index["boundaries_sha256"], *(each["sha256"] for each in self.index["shards"])]
        with tqdm(total=len(files), desc="checking", unit="file", disable=not progress) as bar:
            for name, expected in zip(files, sums):
                if file_hash(self.folder / name).hexdigest() != expected:
                    raise damaged(self.folder / name, "was altered: its checksum is wrong")
                bar.update()

    def refuse_other(self, tokenizer: Tokenizer) -> None:
        """Raise ValueError if the shards were made by another tokenizer."""
        if tokenizer.hash != self.tokenizer.hash:
            raise ValueError(f"the shards in {self.folder} were made by {self.tokenizer} (hash {self.tokenizer.hash}), "
                             f"not by {tokenizer} (hash {tokenizer.hash}): use theirs, or tokenize the text anew")

    @cached_property
    def parts(self) -> tuple[Stream, list[Int64[np.ndarray, "_"]]]:
        """Documents to train on, still on disk, and documents to be judged by, in memory; a document is in one of them.

        Held out is the last tenth of the documents, as corpora.split_documents does it, or what of that fits into 262,144
        tokens. Fewer than ten documents are cut at nine tenths of all tokens, and the one that is cut is on both sides.
        """
        before, count = self.all.before, len(self.all)
        if count >= 10:
            cut = int(0.9 * count)
            fits = int(np.searchsorted(before, before[-1] - MOST_HELD_OUT))
            cut = min(max(cut, fits), count - 1)
            held_out, before = [self.all.document(d) for d in range(cut, count)], before[:cut + 1]
        else:
            ends = before[1:] + np.arange(1, count + 1)
            cut = int(ends[-1]) - min(int(ends[-1]) // 10, MOST_HELD_OUT)
            inside = int(np.searchsorted(ends[:-1], cut, side="right"))  # the document that is cut, at token `at`
            at = cut - int(before[inside]) - inside
            held_out = [self.all.document(inside)[at:], *(self.all.document(d) for d in range(inside + 1, count))]
            held_out = [document for document in held_out if len(document) > 1]
            before = np.append(before[:inside + 1], [before[inside] + at - 1] if at > 1 else []).astype(np.int64)
        if len(before) < 2 or not held_out:
            raise ValueError(f"too little text to hold some of it out for validation: {self}")
        return Stream(self.all.ids, before, self.all.checksum), held_out

    def corpus(self) -> Corpus:
        """The held-out text, decoded, and about a million tokens of the training text, for models that count."""
        train, held_out = self.parts
        few = max(1, int(np.searchsorted(train.before, SAMPLE)))
        beginning = (train.document(d, SAMPLE) for d in range(min(few, len(train))))
        return Corpus(self.folder.resolve().name, f"shards: {self}; shown is the beginning of the training text",
                      [self.tokenizer.decode(ids) for ids in beginning], [self.tokenizer.decode(ids) for ids in held_out])


def read_index(path: Path) -> dict:
    """Read the index, or what stands for it while shards are being written."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != FORMAT or index["version"] != VERSION:
            raise ValueError(f"it is {index['format']} version {index['version']}, and this gptcore reads {VERSION}")
        if index.pop("sha256") != index_hash(index):
            raise ValueError("its checksum is wrong, so it was edited or damaged")
        return index
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be used ({error!r}); bring back a copy of it, or tokenize the text anew") from None


def index_hash(index: dict) -> str:
    """The checksum that an index carries of all else in it."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def id_type(tokenizer: Tokenizer) -> np.dtype:
    """The smallest type that holds every id."""
    return np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")


def tokenizer_of(folder: Path, index: dict) -> Tokenizer:
    """The tokenizer beside the shards. Raises ValueError when it is missing or is not the one that made them."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise damaged(path, "is missing")
    if file_hash(path).hexdigest() != index["tokenizer"]["sha256"]:
        raise damaged(path, "is not the tokenizer that made the shards: its checksum is wrong")
    return load_tokenizer(path)


def damaged(path: Path, what: str) -> ValueError:
    """What to say of a file that cannot be trusted."""
    return ValueError(f"{path} {what}. Bring back a copy of it, or remove the folder and tokenize the text anew")


def file_hash(path: Path, size: int | None = None):
    """The sha256 of a file or of its first `size` bytes, read in pieces; it can be updated further."""
    digest = hashlib.sha256()
    for block in _blocks(path, size):
        digest.update(block)
    return digest


def _blocks(path: Path, size: int | None) -> Iterator[bytes]:
    left = path.stat().st_size if size is None else size
    with open(path, "rb") as file:
        while block := file.read(min(left, 2**20)):
            left -= len(block)
            yield block
