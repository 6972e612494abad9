"""From a source of documents to shards, in parallel processes, and on from where it was when it was killed.

This process reads the source and cuts it into units of about a megabyte; workers encode them; this process writes what
comes back, in order. All files only grow. Every few seconds, after they have reached the disk, their sizes are written
down (progress.json, atomically). Who starts again cuts the files back to that and goes on.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer
from tqdm.auto import tqdm

from gptcore.corpora import CorpusError
from gptcore.shard_writer import ShardWriter
from gptcore.shards import TOKENIZER, Shards, id_type
from gptcore.sources import Piece, Source
from gptcore.tokenizer import GPT2_PATTERN, GPT4_PATTERN, BPETokenizer, Tokenizer, load_tokenizer

__all__ = ["encode_pieces", "write_shards"]

UNIT = 2**20          # characters that a worker encodes at once
SHARD_TOKENS = 2**26  # 134 MB as uint16
SAVE_EVERY = 2.0      # seconds of work that a kill can cost
BORDER = b"\xff"      # between documents in the hash of the text; no UTF-8 holds it


class Unit(NamedTuple):
    """Text for a worker, and how far the source has been read with it."""

    pieces: list[tuple[str, bool, bool]]  # text, opens a document, closes one
    first: int                            # the number of the document that it begins in
    size: int                             # bytes that it took to read
    read: dict                            # units, documents left out, bytes, and hash of the text, up to its end


def write_shards(
    source: Source,
    folder: str | Path,
    tokenizer: Tokenizer,
    *,
    processes: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    save_every: float = SAVE_EVERY,
    progress: bool = True,
) -> Shards:
    """Encode every document of `source` into a folder of shards, and open it; blank documents are left out and counted.

    A document is encoded as by encode_document. When the call was killed, the same call goes on, and ends with the same
    bytes as if nothing had happened; so it does with any number of `processes` (one for each core; 1 does all in this
    one). Of a finished folder only the checksums are looked at. Raises ValueError for settings that are not those the
    folder was begun with, for a source or a file that changed and for text that cannot be encoded; ChildProcessError
    when a worker was killed; OSError when the disk is full. The same call then goes on from there, too.
    """
    processes = _cores() if processes is None else processes
    if processes < 1 or shard_tokens < 1:
        raise ValueError(f"processes={processes}, shard_tokens={shard_tokens}: at least 1 each, please")
    with closing(ShardWriter(Path(folder), source.name, tokenizer, shard_tokens)) as writer:
        if not writer.finished:
            with tqdm(total=source.size, unit="B", unit_scale=True, desc="tokenizing", disable=not progress) as bar:
                units = remaining(cut_into_units(source, _can_be_cut(tokenizer)), writer, bar)
                _write_all(units, writer, tokenizer, processes, save_every, bar)
            return Shards(folder)
    shards = Shards(folder)
    shards.verify(progress)
    return shards


def _write_all(units: Iterator[Unit], writer: ShardWriter, tokenizer: Tokenizer, processes: int, save_every: float,
               bar: tqdm) -> None:
    saved = time.monotonic()
    with closing(encoded(units, writer.folder / TOKENIZER, tokenizer, processes)) as results:
        try:
            for unit, ids, ends in results:
                writer.add(ids, ends, unit.read)
                bar.update(unit.size)
                if time.monotonic() - saved >= save_every:
                    writer.save()
                    saved = time.monotonic()
            writer.finish()
        except BrokenProcessPool:
            raise ChildProcessError("a worker process was killed, often for want of memory: start the same command again, "
                                    "with fewer --processes perhaps, and it goes on") from None
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, f"{error.strerror}, with {writer.index['tokens']:,} tokens written; mend that and "
                          "start the same command again: it goes on", error.filename) from error


def cut_into_units(source: Source, can_be_cut: bool = True) -> Iterator[Unit]:
    """Gather the pieces of a source into units; the same ones each time. Blank documents are counted and left out."""
    digest, read = hashlib.sha256(), {"units": 0, "left_out": 0, "bytes": 0}
    pieces, characters, size, first, document, opens = [], 0, 0, 0, 0, True

    def unit() -> Unit:
        read["units"] += 1
        return Unit(pieces, first, size, read | {"text_sha256": digest.hexdigest()})

    for text, closes, bytes_read in source.pieces() if can_be_cut else _whole(source.pieces()):
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            raise CorpusError(f"document {document} of {source.name} holds {text[error.start]!r}, half of a character that "
                              "UTF-8 cannot write; mend or remove it") from None
        digest.update(raw + BORDER * closes)
        size += bytes_read
        if opens and closes and not text.strip():
            read["left_out"] += 1
        else:
            pieces.append((text, opens, closes))
            read["bytes"] += len(raw)
            characters += len(text)
            document += closes
        opens = closes
        if characters >= UNIT:
            yield unit()
            pieces, characters, size, first = [], 0, 0, document
    yield unit()


def remaining(units: Iterator[Unit], writer: ShardWriter, bar: tqdm) -> Iterator[Unit]:
    """The units that are still to be written, after a check that the ones before are still what they were."""
    done = writer.index["units"]
    for unit in units:
        if unit.read["units"] > done:
            yield unit
            continue
        bar.update(unit.size)
        if unit.read["units"] == done and unit.read["text_sha256"] != writer.index["text_sha256"]:
            break
    if unit.read["units"] <= done and unit.read["text_sha256"] != writer.index["text_sha256"]:
        raise ValueError(f"the text of {writer.index['source']} is not what {writer.folder} was begun with; bring it back, "
                         "or tokenize it into another folder")


def _whole(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Put the pieces of each document together again, for a tokenizer that has to see all of it."""
    parts: list[Piece] = []
    for piece in pieces:
        parts.append(piece)
        if piece.closes:
            yield Piece("".join(part.text for part in parts), True, sum(part.size for part in parts))
            parts = []


def _can_be_cut(tokenizer: Tokenizer) -> bool:
    """May a document be cut where `sources.CUT` says? Under any other pattern that could change its tokens."""
    return not isinstance(tokenizer, BPETokenizer) or tokenizer.pattern in (GPT2_PATTERN, GPT4_PATTERN)


# Workers


def encode_pieces(
    tokenizer: Tokenizer, pieces: list[tuple[str, bool, bool]], first: int = 0
) -> tuple[Integer[np.ndarray, "n"], Int64[np.ndarray, "d"]]:
    """Return the ids of some text, `<|endoftext|>` before and after each document, and where documents end in them.

    >>> from gptcore.tokenizer import CharTokenizer
    >>> encode_pieces(CharTokenizer("ab"), [("ba", True, True), ("a", True, False)])
    (array([2, 1, 0, 2, 2, 0], dtype=uint16), array([4]))
    """
    dtype, end, parts, ends, length, document = id_type(tokenizer), tokenizer.end_of_text, [], [], 0, first
    for text, opens, closes in pieces:
        try:
            ids = tokenizer.encode(text)
        except ValueError as error:
            raise ValueError(f"document {document} (the first is 0): {error}") from None
        parts.append(np.array([end] * opens + ids + [end] * closes, dtype))
        length += len(parts[-1])
        if closes:
            ends.append(length)
            document += 1
    return np.concatenate([np.empty(0, dtype), *parts]), np.array(ends, np.int64)


def encoded(units: Iterator[Unit], tokenizer_file: Path, tokenizer: Tokenizer, processes: int) -> Iterator[tuple]:
    """Yield each unit with its ids and its ends, in order, while workers are never more than a few units ahead."""
    if processes == 1:
        yield from ((unit, *encode_pieces(tokenizer, unit.pieces, unit.first)) for unit in units)
        return
    waiting: deque = deque()
    # Spawned, not forked: a fork copies locks that threads of this process may hold.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_worker, (tokenizer_file,))
    try:
        for unit in units:
            waiting.append((unit, pool.submit(_encode, unit.pieces, unit.first)))
            if len(waiting) > 2 * processes:
                unit, future = waiting.popleft()
                yield unit, *future.result()
        while waiting:
            unit, future = waiting.popleft()
            yield unit, *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(tokenizer_file: Path) -> None:
    global _tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _tokenizer = load_tokenizer(tokenizer_file)


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])  # a killed parent tells nobody: without this, workers would stay
    os._exit(1)


def _encode(pieces: list[tuple[str, bool, bool]], first: int) -> tuple[np.ndarray, np.ndarray]:
    return encode_pieces(_tokenizer, pieces, first)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
