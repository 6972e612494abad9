"""The ward of chapter 09: each illness shows by its sign, and by no sign of another."""

import numpy as np
import pytest

from gptcore import corpora
from gptcore.course.exercises import EXERCISES
from gptcore.course.ward import LETTERS, ward
from gptcore.tokenizer import BPETokenizer, encode_document


@pytest.fixture(scope="module")
def logs():
    corpus = corpora.load("playhouse")
    tokenizer = BPETokenizer.train(corpus.train, 512, progress=False)
    found = ward([encode_document(tokenizer, text) for text in corpus.train],
                 [encode_document(tokenizer, text) for text in corpus.validation], scale=2.0)
    return {"healthy": found.pop("healthy")} | {LETTERS[letter]: log for letter, log in found.items()}


def test_each_illness_has_a_sign_of_its_own(logs):
    healthy = logs["healthy"]
    end = {name: log.iloc[-1] for name, log in logs.items()}
    assert {name for name, each in end.items() if each["train"] < end["healthy"]["train"] - 0.5} == {"leak", "few"}
    assert {name for name, log in logs.items() if log["validation"].iloc[-1] > log["validation"].min() + 0.2} == {"foreign"}
    assert {name for name, each in end.items() if each["validation"] < end["healthy"]["validation"] - 0.5} == {"leak"}
    assert {name for name, log in logs.items() if log["validation"].iloc[1] > healthy["validation"].iloc[1] + 0.5} == {"low"}
    stuck = {name for name, log in logs.items() if log["train"].iloc[2] - log["train"].iloc[-1] < 0.2}
    assert stuck == {"high"}


def test_losses_are_those_of_the_log_times_the_scale(logs):
    for log in logs.values():
        assert np.allclose(log["validation"], 2 * log["val_loss"])
        assert np.allclose(log["train"], 2 * log["train_loss"], equal_nan=True)


def test_the_answer_is_the_letters_of_the_ward():
    (_, right), = EXERCISES["ward_round"].cases.values()
    assert right == LETTERS
