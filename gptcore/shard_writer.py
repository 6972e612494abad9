"""The files of a folder of shards while they grow, so that a kill at any moment costs seconds. Plumbing of `tokenizing`."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer

from gptcore.corpora import CorpusError
from gptcore.files import atomic_write
from gptcore.shards import (
    DOCUMENTS,
    FORMAT,
    INDEX,
    PROGRESS,
    TOKENIZER,
    VERSION,
    damaged,
    file_hash,
    id_type,
    index_hash,
    is_shards,
    read_index,
    tokenizer_of,
)
from gptcore.tokenizer import Tokenizer

__all__ = ["GrowingFile", "ShardWriter", "refuse_foreign"]


class GrowingFile:
    """A file that is only appended to, and the checksum of all of it.

    Opened again, its first `size` bytes must be there and have the checksum `sha256`, or ValueError says what is wrong;
    the rest is cut off. It has no buffer, so that what cannot be written is noticed at once.
    """

    def __init__(self, path: Path, size: int = 0, sha256: str = ""):
        self.digest = checked(path, size, sha256) if size else hashlib.sha256()
        self.file = open(path, "r+b" if size else "wb", buffering=0)
        self.file.truncate(size)
        self.file.seek(size)

    def append(self, numbers: Integer[np.ndarray, "_"]) -> None:
        """Write numbers behind the others."""
        raw = memoryview(np.ascontiguousarray(numbers)).cast("B")
        self.digest.update(raw)
        while raw:
            raw = raw[self.file.write(raw):]  # a disk that is almost full takes a part, and raises at the next one

    def settle(self) -> str:
        """Wait until all of it is on the disk, and return the checksum."""
        os.fsync(self.file.fileno())
        return self.digest.hexdigest()


class ShardWriter:
    """A folder of shards that grows. `index` says how much of the files counts; at last it is index.json."""

    def __init__(self, folder: Path, source: str, tokenizer: Tokenizer, shard_tokens: int):
        self.folder, self.itemsize = folder, id_type(tokenizer).itemsize
        self.tokens: GrowingFile | None = None
        self.documents: GrowingFile | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.tmp.json"):  # of an atomic_write that was killed
            leftover.unlink()
        refuse_foreign(folder)
        self.finished, begun = (folder / INDEX).is_file(), is_shards(folder)
        if begun:
            self.index = read_index(folder / (INDEX if self.finished else PROGRESS))
            tokenizer_of(folder, self.index)
        else:
            tokenizer.save(folder / TOKENIZER)
        settings = {"format": FORMAT, "version": VERSION, "source": source, "dtype": id_type(tokenizer).str,
                    "tokenizer": {"sha256": file_hash(folder / TOKENIZER).hexdigest(), "hash": tokenizer.hash,
                                  "vocab_size": tokenizer.vocab_size}, "shard_tokens": shard_tokens}
        if begun:
            self._refuse_changes(settings)
        else:
            self.index = settings | {"units": 0, "documents": 0, "left_out": 0, "bytes": 0, "text_sha256": "", "tokens": 0,
                                     "boundaries_sha256": "", "shards": []}
        if not self.finished:
            self._open(fresh=not begun)

    def _refuse_changes(self, settings: dict) -> None:
        old = self.index
        changed = [f"{name} was {_shown(old.get(name))} and is now {_shown(value)}" for name, value in settings.items()
                   if old.get(name) != value]
        if changed:
            raise ValueError(f"{self.folder} was begun otherwise: {'; '.join(changed)}. Put that back, or choose another "
                             "folder")

    def _open(self, fresh: bool) -> None:
        """Hold the files to what is known of them, and open them behind that."""
        if fresh:
            self.documents = GrowingFile(self.folder / DOCUMENTS)
            self.documents.append(np.zeros(1, "<i8"))
            self.save()
            return
        for each in self.index["shards"]:
            if self.tokens:
                self.tokens.file.close()
            self.tokens = GrowingFile(self.folder / each["file"], each["tokens"] * self.itemsize, each["sha256"])
        self.documents = GrowingFile(self.folder / DOCUMENTS, 8 * (self.index["documents"] + 1),
                                     self.index["boundaries_sha256"])

    def add(self, ids: Integer[np.ndarray, "n"], ends: Int64[np.ndarray, "d"], read: dict) -> None:
        """Append ids and the borders of their documents; `read` says how far the source is read with them."""
        index = self.index
        number = index["documents"] + 1 + np.arange(len(ends))
        self.documents.append((index["tokens"] + ends - number).astype("<i8"))  # of each document all but one are predicted
        while len(ids):
            used = index["tokens"] % index["shard_tokens"]
            if used == 0:
                self._next_shard()
            part, ids = np.split(ids, [index["shard_tokens"] - used])
            self.tokens.append(part)
            index["tokens"] += len(part)
            index["shards"][-1]["tokens"] += len(part)
        index["documents"] += len(ends)
        index.update(read)

    def _next_shard(self) -> None:
        if self.tokens:
            self.index["shards"][-1]["sha256"] = self.tokens.settle()
            self.tokens.file.close()
        name = f"tokens-{len(self.index['shards']):05}.bin"
        self.tokens = GrowingFile(self.folder / name)
        self.index["shards"].append({"file": name, "tokens": 0, "sha256": ""})

    def save(self, name: str = PROGRESS) -> None:
        """See the files to the disk, then write down how far they go."""
        self.index["boundaries_sha256"] = self.documents.settle()
        if self.tokens:
            self.index["shards"][-1]["sha256"] = self.tokens.settle()
        with atomic_write(self.folder / name) as temporary:
            content = json.dumps(self.index | {"sha256": index_hash(self.index)}, indent=1)
            temporary.write_text(content + "\n", encoding="utf-8")

    def finish(self) -> None:
        """Write the index: from now on it is a folder of shards."""
        if not self.index["documents"]:
            raise CorpusError(f"no document with text in {self.index['source']}")
        del self.index["units"]
        self.save(INDEX)
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files, wherever they are."""
        for opened in filter(None, (self.tokens, self.documents)):
            opened.file.close()


def refuse_foreign(folder: Path) -> None:
    """Raise FileExistsError for a folder with other things in it than shards."""
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if not is_shards(folder) and (foreign := [name for name in there if name != TOKENIZER and ".tmp" not in name]):
        raise FileExistsError(f"{folder} holds other files ({foreign[0]}); choose an empty or a new folder")


def _shown(setting: object) -> object:
    return f"that with hash {setting['hash']}" if isinstance(setting, dict) else setting


def checked(path: Path, size: int, sha256: str):
    """The sha256 of the first `size` bytes of a file, to go on with. Raises ValueError when they are not what they were."""
    if not path.is_file():
        raise damaged(path, "is missing")
    if path.stat().st_size < size:
        raise damaged(path, f"is cut off: it has {path.stat().st_size:,} bytes, and {size:,} had been written")
    digest = file_hash(path, size)
    if digest.hexdigest() != sha256:
        raise damaged(path, "was altered: its checksum is wrong")
    return digest
