"""The data card of a corpus: what is in it, where from, under which licence, and what was done to it.

It holds names and numbers, never a path of this machine, so it can go wherever the model goes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from .corpora import END_OF_TEXT, Corpus
from .files import atomic_write
from .tokenizer import BPETokenizer, Tokenizer

__all__ = ["CARD", "NOT_STATED", "make_card", "markdown", "save_card", "telling_merges"]

NOT_STATED = "not stated"
CARD = "data_card.json", "data_card.md"
SHORTEST = 5  # bytes of a telling merge
# Words that stand in any English text and tell nothing. Those of another language are shown.
COMMON = frozenset("""
able about above after again against ago all almost alone along already also although always among and another any anything
are around away back became because been before began behind being believe below best better between beyond body both boy but
called came can cannot case certain children close cold come could course dark day days dead did different does done door
down during each early either else end enough even ever every everything eyes face fact far father feel feet felt few find
fire first five following for found four friend from full gave get give given going gone good got great had half hand hands
hard has have having head heard heart help her here herself him himself his hold home hour hours house how however human idea
into its itself just keep kept kind knew know known large last later least left less let life light like little live long
longer look looked looking made make man many matter may mean men might mind minutes moment money more morning most mother
much must myself name near nearly never new next night not nothing now number off often old once one only open order other
others our out over own part passed people perhaps place point power present put question quite rather read reason remained
right room round said same saw say says second see seemed seen sense set several shall she should side since small some
something sometimes soon sort sound still stood strange such sudden suddenly sure take taken tell than that the their them
themselves then there therefore these they thing things think this those though thought three through thus till time times
together told too took towards turned two under until upon use used very voice want was water way well went were what when
where whether which while white who whole whom whose why will with within without woman women words work world would year
years yes yet you young your""".split())


def make_card(
    corpus: Corpus, tokenizer: Tokenizer | None = None, licences: str | Mapping[str, str] = NOT_STATED,
    encoded: Sequence[Sequence[int] | Integer[np.ndarray, "_"]] | None = None,
) -> dict:
    """All that is known of a corpus, and of how a tokenizer sees it, as a dictionary that JSON can hold.

    `licences` is the user's word: one for all, or one for each document by its name; nobody can read it from a text.
    `encoded` are the ids of the training documents, where they are known already.
    """
    if not isinstance(licences, str):
        if strange := sorted(licences.keys() - set(corpus.names)):
            raise ValueError(f"a licence is stated for {', '.join(strange)}, which is no document of {corpus.name}; it has "
                             f"{', '.join(corpus.names[:10]) or 'no names'}")
        licences = {name: licences.get(name, NOT_STATED) for name in corpus.names}
    all_of_it = _size([*corpus.train, *corpus.validation])
    card = {
        "name": corpus.name, "source": corpus.source, "licences": licences, "documents": _documents(corpus),
        "bytes": all_of_it["bytes"], "characters": all_of_it["characters"], "sha256": all_of_it["sha256"],
        "split": {"how": corpus.split or "given", "hash": corpus.validation_hash, "train": _size(corpus.train),
                  "validation": _size(corpus.validation)},
        "dropped": _dropped(corpus), "notes": list(corpus.notes),
    }
    if tokenizer is not None:
        encoded = [tokenizer.encode(text) for text in corpus.train] if encoded is None else encoded
        tokens = sum(map(len, encoded))
        card["tokenizer"] = {"kind": repr(tokenizer), "hash": tokenizer.hash, "train tokens": tokens,
                             "bytes per token": round(card["split"]["train"]["bytes"] / max(tokens, 1), 3)}
        card["telling merges"] = telling_merges(tokenizer, encoded)
    return card


def telling_merges(
    tokenizer: Tokenizer, encoded: Sequence[Sequence[int] | Integer[np.ndarray, "_"]], most: int = 20
) -> list[dict]:
    """The merges that say most about a text: those that write most of it, without what any English text has.

    In the order of their uses times their bytes. Left out are merges of fewer than five bytes, common English words, and
    parts of words (small letters only, without a space before them). What remains are names, subjects, layout, and what
    was forgotten to cut: a long merge that is used in every document is often boilerplate.

    >>> tokenizer = BPETokenizer.train(["a lamp a lamp"], 261, progress=False)
    >>> telling_merges(tokenizer, [tokenizer.encode("a lamp"), tokenizer.encode("the lamp, no lamp")])
    [{'text': ' lamp', 'bytes': 5, 'uses': 3, 'documents': 2}]
    """
    if not isinstance(tokenizer, BPETokenizer):
        return []
    uses, documents = Counter(), Counter()
    for ids in encoded:
        here = Counter(map(int, ids))
        uses.update(here)
        documents.update(here.keys())
    merged = range(256, 256 + len(tokenizer.merges))
    rows = [{"text": text, "bytes": len(raw), "uses": uses[i], "documents": documents[i]}
            for i in uses if i in merged for raw in [tokenizer.token_bytes(i)] for text in [raw.decode("utf-8", "replace")]
            if len(raw) >= SHORTEST and text.strip().lower() not in COMMON and not (text.isalpha() and text.islower())]
    return sorted(rows, key=lambda row: (-row["uses"] * row["bytes"], row["text"]))[:most]


def markdown(card: dict) -> str:
    """The card for people."""
    split, dropped = card["split"], card["dropped"]
    lines = [f"# Data card: {card['name']}", "", f"Source: {card['source']}.", "",
             "| | documents | bytes | characters | sha256 |", "|---|---|---|---|---|"]
    lines += [f"| {side} | {part['documents']:,} | {part['bytes']:,} | {part['characters']:,} | `{part['sha256'][:12]}` |"
              for side, part in (("training", split["train"]), ("validation", split["validation"]))]
    lines += [f"| all | {len(card['documents']) or '—'} | {card['bytes']:,} | {card['characters']:,} | "
              f"`{card['sha256'][:12]}` |", "", f"For validation: {split['how']}. Hash of the split: `{split['hash']}`.", "",
              "## Licences", ""]
    stated = card["licences"] if isinstance(card["licences"], dict) else {"all documents": card["licences"]}
    lines += [f"- {name}: {licence}" for name, licence in stated.items()]
    lines += ["", "## Dropped and mended", ""]
    lines += [f"- {name}: left out, {why}" for name, why in dropped["documents"].items()]
    lines += [f"- {dropped['characters']:,} characters between training and validation texts"] * bool(dropped["characters"])
    lines += [f"- {note}" for note in card["notes"]]
    lines += ["- nothing"] * (lines[-1] == "")
    if card["documents"]:
        lines += ["", "## Documents", "", *(f"- {_cell(name)}: {size:,} bytes" for name, size in card["documents"].items())]
    if tokenizer := card.get("tokenizer"):
        lines += ["", "## Tokenizer", "", f"`{tokenizer['kind']}`, hash `{tokenizer['hash']}`: "
                  f"{tokenizer['train tokens']:,} tokens of training text, {tokenizer['bytes per token']} bytes each."]
    if merges := card.get("telling merges"):
        lines += ["", "The merges that write most of the training text, common English words and short ones left out:", "",
                  "| merge | bytes | uses | documents |", "|---|---|---|---|"]
        lines += [f"| `{_cell(repr(row['text']))}` | {row['bytes']} | {row['uses']:,} | {row['documents']:,} |"
                  for row in merges]
    return "\n".join(lines) + "\n"


def save_card(card: dict, folder: str | Path) -> list[Path]:
    """Write data_card.json and data_card.md into a folder, each whole or not at all; return their paths."""
    texts = dict(zip(CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n", markdown(card))))
    for name, text in texts.items():
        with atomic_write(Path(folder) / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [Path(folder) / name for name in texts]


def _size(texts: Sequence[str]) -> dict:
    """How much text, and sha256 over it with `<|endoftext|>` between the documents."""
    raw = END_OF_TEXT.join(texts).encode()
    return {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts),
            "characters": sum(map(len, texts)), "sha256": hashlib.sha256(raw).hexdigest()}


def _documents(corpus: Corpus) -> dict[str, int]:
    """The bytes that each named document has on either side."""
    sizes = dict.fromkeys(corpus.names, 0)
    for texts, spans in zip((corpus.train, corpus.validation), corpus.spans):
        for text, span in zip(texts, spans):
            if corpus.names:
                sizes[corpus.names[span.document]] += len(text.encode())
    return sizes


def _dropped(corpus: Corpus) -> dict:
    """What is not in the corpus and why: whole documents, and characters between the two sides."""
    ends: dict[int, int] = {}
    gaps = 0
    for span in sorted([*corpus.spans[0], *corpus.spans[1]]):
        gaps += span.start - ends.get(span.document, 0)
        ends[span.document] = span.stop
    return {"documents": dict.fromkeys(corpus.left_out, "empty"), "characters": gaps}


def _cell(text: str) -> str:
    """A text within a table of Markdown."""
    return text.replace("|", "\\|").replace("`", "ˋ")
