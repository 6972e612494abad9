"""The published run on Tiny Shakespeare: its tokens, its size, and how the command that trains it leaves its log."""

import os
from pathlib import Path

import pandas as pd
import pytest

from gptcore import corpora, playhouse
from gptcore.corpora import Corpus
from gptcore.gpt import PRESETS, GPTConfig
from gptcore.runs import COLUMNS
from tools import shakespeare

TEXT = "\n".join(map(playhouse.write, range(4)))


def test_merges_are_learned_without_a_pattern_and_documents_have_no_special_token():
    tokenizer = shakespeare.published_tokenizer(TEXT, vocab_size=300)
    assert len(tokenizer.merges) == 44 and tokenizer.vocab_size == 301
    assert any(tokenizer.token_bytes(i).endswith(b" ") for i in range(256, 300))  # no pattern would let a word end so
    train, validation = shakespeare.documents(tokenizer, Corpus("a", "memory", [TEXT], ["the lamp"]))
    assert tokenizer.decode(train[0]) == TEXT and max(train[0]) < 300 and tokenizer.decode(validation[0]) == "the lamp"


def test_the_run_goes_on_and_its_log_becomes_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "load", lambda name: Corpus(name, "a test", [TEXT], [TEXT[:200]]))
    monkeypatch.setitem(PRESETS, "shakespeare-bpe", GPTConfig(500, block_size=8, n_layer=1, n_head=1, n_embd=8))
    monkeypatch.setitem(shakespeare.CONFIG, "batch_size", 2)
    file, run = tmp_path / "log.csv", tmp_path / "run"
    shakespeare.main(["--steps", "1"], file, run)
    assert list(pd.read_csv(file)["step"]) == [0, 1] and tuple(pd.read_csv(file)) == COLUMNS
    shakespeare.main(["--steps", "3"], file, run)
    assert list(pd.read_csv(file)["step"]) == [0, 1, 3]


@pytest.mark.skipif(not (Path(os.environ.get("GPTCORE_DATA", "?")) / "tinyshakespeare.txt").exists(), reason="no text")
def test_the_published_tokens_and_size():
    corpus = corpora.load("tinyshakespeare")
    tokenizer = shakespeare.published_tokenizer("".join([*corpus.train, *corpus.validation]))
    assert (tokenizer.merges[0], tokenizer.merges[243]) == ((101, 32), (292, 256))
    assert sum(len(ids) for side in shakespeare.documents(tokenizer, corpus) for ids in side) == 574_057
