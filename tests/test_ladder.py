"""The ladder: the rungs over the same bytes, the gap by kind that adds up."""
import math

import numpy as np
import pytest

from gptcore import playhouse
from gptcore.corpora import Corpus
from gptcore.evaluation import Score, bits_per_byte
from gptcore.ladder import counting_rungs, floor, gap_by_kind, known_rungs, ladder, place, worth_by_kind
from gptcore.ngram import NGram

TRAIN = [playhouse.write(seed) for seed in range(60)]
JUDGED = [playhouse.write(seed) for seed in range(1000, 1012)]


def test_rungs_are_scored_on_every_byte_and_stand_in_order():
    rungs = counting_rungs(TRAIN, JUDGED)
    for nats in rungs.values():
        assert [len(of_document) for of_document in nats] == [len(text.encode()) for text in JUDGED]
    scores = [bits_per_byte(nats).value for nats in rungs.values()]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(math.log2(len(set("".join(TRAIN + JUDGED).encode()))))
    below = bits_per_byte([derivation.nats for derivation in floor(JUDGED)]).value
    assert scores[-1] > 1.5 * below


def test_rungs_read_bytes_not_characters():
    nats = counting_rungs(["été ", "aé"] * 5, ["éa"] * 10, {"bigram": 2})["bigram"]
    assert [len(of_document) for of_document in nats] == [3] * 10


def test_a_rung_is_the_ngram_of_its_order():
    start, judged = 256, [256, *JUDGED[0].encode()]
    alphabet = sorted(set("".join(TRAIN + JUDGED).encode()))
    place = {byte: i for i, byte in enumerate(alphabet)} | {start: len(alphabet)}
    documents = [[place[start], *(place[byte] for byte in text.encode())] for text in TRAIN]
    model = NGram(2, len(alphabet)).fit(documents)
    expected = model.token_nats([[place[byte] for byte in judged]])[0]
    np.testing.assert_array_equal(counting_rungs(TRAIN, JUDGED)["bigram"][0], expected)


def test_validation_text_is_not_counted():
    nats = counting_rungs(["aaaa"] * 10, ["bbbb"] * 10)["5-gram"]
    assert min(map(min, nats)) > math.log(10)  # b was never seen, so it costs much, also the fourth time


def test_the_floor_is_known_for_the_grammars_own_text_only():
    derivations = floor(JUDGED)
    assert sum(derivation.nats.sum() for derivation in derivations) > 0
    assert floor([*JUDGED, "To be, or not to be\n"]) is None


def test_the_gap_by_kind_adds_up_to_the_whole_gap():
    derivations = floor(JUDGED)
    model = counting_rungs(TRAIN, JUDGED)["5-gram"]
    table = gap_by_kind(model, derivations)
    ours, below = (bits_per_byte(nats).value for nats in (model, [d.nats for d in derivations]))
    assert list(table.index) == list(playhouse.KINDS)
    assert table["gap"].sum() == pytest.approx(ours - below, rel=1e-9)
    assert table["model"].sum() == pytest.approx(ours, rel=1e-9)
    assert table["floor"].sum() == pytest.approx(below, rel=1e-9)
    assert table["share"].sum() == pytest.approx(100)


def test_a_model_blind_to_one_kind_has_its_gap_there():
    derivations = floor(JUDGED)
    for kind in ("cast", "rhyme", "closing"):
        blind = [playhouse.score(text, kind).nats for text in JUDGED]
        table = gap_by_kind(blind, derivations)
        assert table.loc[kind, "share"] == pytest.approx(100)
        assert table["gap"].sum() > 0


def test_worth_is_the_gap_of_a_blind_reader():
    derivations, worth = floor(JUDGED), worth_by_kind(JUDGED)
    for kind in playhouse.KINDS:
        blind = [playhouse.score(text, kind).nats for text in JUDGED]
        assert worth[kind] == pytest.approx(gap_by_kind(blind, derivations)["gap"].sum())
    assert worth["spelling"] == worth.max() and worth.min() > 0


def test_the_grammar_itself_has_no_gap():
    derivations = floor(JUDGED)
    assert (gap_by_kind([d.nats for d in derivations], derivations)["gap"] == 0).all()


def test_a_gap_over_other_bytes_is_refused():
    with pytest.raises(ValueError, match="not the same text"):
        gap_by_kind([np.zeros(3)], floor(JUDGED[:1]))
    with pytest.raises(ValueError, match="cut differently"):
        gap_by_kind([derivation.nats for derivation in floor(JUDGED[:2])], floor(JUDGED[1::-1]))


def test_ladder_table():
    bits = math.log(2)
    table = ladder({"floor": [np.full(10, bits)] * 10, "model": [np.full(10, 1.5 * bits)] * 10})
    assert list(table.index) == ["model", "floor"]
    assert table.loc["model", "above lowest"] == pytest.approx(50) and table.loc["floor", "above lowest"] == 0


def test_error_bars_are_those_of_bits_per_byte():
    nats = list(np.random.default_rng(0).random((12, 9)))
    assert ladder({"a": nats}).loc["a", "error"] == bits_per_byte(nats).error


def test_a_text_that_is_wrong_from_its_first_character_has_no_floor():
    assert floor(["7"]) is None


def test_a_model_that_is_luckier_than_the_grammar_has_a_negative_gap():
    derivations = floor(JUDGED)
    assert gap_by_kind([0 * derivation.nats for derivation in derivations], derivations)["gap"].sum() < 0


def test_the_five_gram_has_order_five():
    rung, alone = counting_rungs(TRAIN, JUDGED)["5-gram"], counting_rungs(TRAIN, JUDGED, {"alone": 5})["alone"]
    np.testing.assert_array_equal(rung[0], alone[0])


def test_counting_stops_after_enough_bytes(monkeypatch):
    monkeypatch.setattr("gptcore.ladder.ENOUGH", 10)
    long, short = (counting_rungs(texts, ["abba"], {"b": 2})["b"][0] for texts in (["abababab"] * 3, ["abababab", "a"]))
    np.testing.assert_array_equal(long, short)


CORPUS = Corpus("toy", "memory", TRAIN, JUDGED)


def stored(tmp_path, monkeypatch, **rungs):
    """A ladder with these rungs in a file, as `make notebooks` writes it."""
    path = tmp_path / "ladder.json"
    monkeypatch.setenv("GPTCORE_KEEP", "1")
    for name, nats in rungs.items():
        place(name, nats, CORPUS, path)
    monkeypatch.delenv("GPTCORE_KEEP")
    return path


def nats(bits, spread=0.0):
    return [np.full(8, math.log(2) * (bits + spread * (-1) ** i)) for i in range(20)]


def test_rungs_are_kept_in_order_and_read_again(tmp_path, monkeypatch):
    path = stored(tmp_path, monkeypatch, low=nats(1.0, 0.1), high=nats(5.0, 0.2), middle=nats(3.0))
    assert list(known_rungs(CORPUS, path)) == ["high", "middle", "low"]
    assert known_rungs(CORPUS, path)["high"].value == pytest.approx(5)
    assert known_rungs(CORPUS, path)["low"].error == pytest.approx(bits_per_byte(nats(1.0, 0.1)).error, abs=1e-6)


def test_a_rung_is_held_to_the_stored_one(tmp_path, monkeypatch):
    path = stored(tmp_path, monkeypatch, rung=nats(2.0, 0.1))
    before, error = path.read_bytes(), bits_per_byte(nats(2.0, 0.1)).error
    assert place("rung", nats(2.0 + 2.9 * error), CORPUS, path).value == pytest.approx(2 + 2.9 * error)
    for off in (3.1, -3.1):
        with pytest.raises(AssertionError, match=r"the rung rung stands at 2\.000"):
            place("rung", nats(2.0 + off * error), CORPUS, path)
    place("a new one", nats(7.0), CORPUS, path)
    assert path.read_bytes() == before


def test_another_text_has_another_ladder(tmp_path, monkeypatch):
    path = stored(tmp_path, monkeypatch, rung=nats(2.0))
    other = Corpus("other", "memory", TRAIN, JUDGED[1:])
    assert known_rungs(other, path) == {} == known_rungs(CORPUS, tmp_path / "none.json")
    assert place("rung", nats(9.0), other, path).value == pytest.approx(9)


def test_a_ladder_of_scores():
    table = ladder({"mine": Score(2.0, 0.5), "floor": nats(1.0)})
    assert list(table["above lowest"]) == pytest.approx([100, 0]) and table.loc["mine", "error"] == 0.5
