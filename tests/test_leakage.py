"""Leakage: passages by hand and by brute force, duplicates planted, and texts of which it is known whether they leak."""

import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcore import corpora, leakage
from gptcore.corpora import Corpus
from gptcore.evaluation import bits_per_byte
from gptcore.leakage import found_within, leak_cost, longest_copy, near_duplicates, report, shared_passages, similarity
from gptcore.ngram import NGram
from gptcore.splits import Span, split_spans

SYLLABLES = [a + b for a in "bdfglmnprstv" for b in "aeiou"]


def split(texts, **options):
    spans = split_spans([len(text) for text in texts], **options)
    parts = [[texts[span.document][span.start:span.stop] for span in side] for side in spans]
    return Corpus("made here", "memory", *parts, names=tuple(f"{i}.txt" for i in range(len(texts))), spans=spans)


def words(rng, many, of):
    return " ".join(rng.choices(of, k=many))


# --- passages -----------------------------------------------------------------------------------------------------------


def test_passages_by_hand():
    text = "The old lamp. A new door! an old LAMP; "
    corpus = split([text], validation=1 - 26 / len(text))
    assert corpus.validation[0].strip() == "an old LAMP;"
    table = shared_passages(corpus, n=2)
    at = [text.index("an old"), text.index("old LAMP")]
    assert table["at"].tolist() == at and table["document"].tolist() == [0, 0]
    assert math.isnan(table["distance"][0]) and table["distance"][1] == at[1] - text.index("old lamp")
    assert found_within(table, [10, 30, math.inf]) == [0, 0.5, 0.5]


def test_the_nearest_place_on_either_side_counts_and_other_documents_are_far():
    spans = [Span(0, 0, 7), Span(0, 20, 23), Span(1, 0, 3)], [Span(0, 10, 17)]
    corpus = Corpus("a", "memory", ["x y a b", "a b", "c d"], ["a b c d"], spans=spans)
    distances = shared_passages(corpus, n=2)["distance"].tolist()
    assert distances[0] == min(10 - 4, 20 - 10) and math.isnan(distances[1]) and distances[2] == math.inf


@given(st.lists(st.text("ab c.", min_size=30, max_size=80), min_size=1, max_size=3), st.integers(1, 3))
def test_passages_against_looking_everywhere(texts, n):
    corpus = split(texts, chunk=25, validation=0.3)

    def all_of(side):
        for text, span in zip((corpus.train, corpus.validation)[side], corpus.spans[side]):
            found = list(leakage.WORD.finditer(text))
            for i in range(len(found) - n + 1):
                yield span.document, span.start + found[i].start(), [word[0] for word in found[i:i + n]]

    expected = []
    for document, at, passage in all_of(1):
        same = [(other, there) for other, there, words in all_of(0) if words == passage]
        here = [abs(there - at) for other, there in same if other == document]
        expected.append((document, at, min(here) if here else math.inf if same else math.nan))
    table = shared_passages(corpus, n)
    np.testing.assert_array_equal(table.to_numpy(float).reshape(-1, 3), np.array(expected, float).reshape(-1, 3))


def test_chunks_have_their_training_text_beside_them():
    rng = random.Random(1)
    drifting = " ".join(words(rng, 60, [rng.choice(SYLLABLES) * 2 for _ in range(12)]) for _ in range(40))
    far, near = (found_within(shared_passages(split([drifting], **options), 2), [500])[0]
                 for options in ({}, {"chunk": 1000}))
    assert far < 0.05 < 0.3 < near


# --- duplicates ---------------------------------------------------------------------------------------------------------


def test_near_duplicates_against_all_pairs():
    rng = random.Random(2)
    texts = [words(rng, 120, SYLLABLES) for _ in range(30)]
    for replaced in (0, 1, 3, 5, 30):  # words of a copy
        copy = texts[rng.randrange(30)].split()
        for i in rng.sample(range(120), replaced):
            copy[i] = "other"
        texts.append(" ".join(copy))
    sets = [{tuple(text.split()[i:i + 5]) for i in range(len(text.split()) - 4)} for text in texts]
    exact = {(i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in combinations(range(len(texts)), 2)}
    expected = {pair: value for pair, value in exact.items() if value >= 0.4}
    table = near_duplicates(texts, least=0.4)
    found = {(row.first, row.second): row.similarity for row in table.itertuples()}
    assert len(expected) >= 3 and found == pytest.approx(expected)
    assert list(table["similarity"]) == sorted(table["similarity"], reverse=True)


def test_signatures_agree_as_often_as_texts_are_alike():
    numbers = np.arange(3000, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    for low in (300, 900, 1500):
        one, two = leakage._signature(numbers[:2000]), leakage._signature(numbers[low:2000 + low])
        alike = (2000 - low) / (2000 + low)
        assert abs((one == two).mean() - alike) < 4 * math.sqrt(alike * (1 - alike) / 128)


def test_short_and_empty_texts():
    assert near_duplicates(["", " ", "a b", "A, B", "c"]).to_numpy().tolist() == [[2, 3, 1]]
    assert near_duplicates([]).empty and near_duplicates(["a"]).empty
    assert found_within(shared_passages(Corpus("a", "memory", ["a"], ["b"])), [9]) == [pytest.approx(math.nan, nan_ok=True)]


def test_the_report_names_a_copy_on_both_sides():
    rng = random.Random(3)
    texts = [words(rng, 100, SYLLABLES) for _ in range(12)]
    texts[11] = texts[4].upper()
    said = report(split(texts))
    assert "pairs of texts that are nearly the same: 1, of them on both sides of the split: 1" in said
    assert "validation text 1 (11.txt) is training text 4 (4.txt) to 100 %: remove one" in said
    assert "of 192 passages of 5 words in the validation text, 50.0 % stand in the training text, too; 0.0 % within" in said


# --- what a leak hides --------------------------------------------------------------------------------------------------


def test_a_text_that_drifts_looks_easier_in_chunks_than_it_is():
    rng = random.Random(4)
    drifting = " ".join(words(rng, 40, ["".join(rng.choices(SYLLABLES, k=3)) for _ in range(10)]) for _ in range(60))
    leak = leak_cost(drifting[:16_000], chunk=1000, order=4, folds=5)
    assert leak.hidden.value == pytest.approx(leak.honest.value - leak.leaky.value)
    assert leak.hidden.value > 0.3 and leak.hidden.value > 5 * leak.hidden.error


def test_a_text_that_is_everywhere_alike_hides_nothing():
    rng = random.Random(5)
    leak = leak_cost(words(rng, 3000, [rng.choice(SYLLABLES) * 2 for _ in range(50)]), chunk=1000, order=3, folds=5)
    assert abs(leak.hidden.value) < 4 * leak.hidden.error + 0.01


def test_each_byte_is_judged_by_a_model_that_did_not_read_it():
    raw, order = bytes(random.Random(6).choices(b"abc ", k=200)), 3
    nats = leakage._held_out_nats(raw, 50, order, 5)
    model = NGram(order, 257)
    borders = [(10, 20), (60, 70), (110, 120), (160, 170)]  # the second fifth of each 50
    for start, stop in zip([0, *(stop for _, stop in borders)], [*(start for start, _ in borders), 200]):
        model.fit([[256, *raw[start:stop]]])
    for start, stop in borders:
        expected = model.token_nats([[256, *raw[start:stop]]])[0]
        assert np.isnan(nats[start:start + 2]).all() and np.allclose(nats[start + 2:stop], expected[2:])
    assert np.isnan(nats).sum() == 20 * 2
    both = ~np.isnan(nats + leakage._held_out_nats(raw, 200, order, 5))
    assert leak_cost(raw.decode(), 50, order, 5).leaky == bits_per_byte([nats[both]])


@pytest.mark.parametrize("arguments", [{"chunk": 90}, {"chunk": 0}, {"folds": 1}, {"chunk": 4}, {"order": 0}])
def test_too_little_text_is_refused(arguments):
    with pytest.raises(ValueError, match="it takes two chunks of text"):
        leak_cost("a" * 100, **({"chunk": 20} | arguments))


def test_a_loaded_corpus_knows_its_places(tmp_path):
    (tmp_path / "a.txt").write_text("one two three four five " * 50)
    table = shared_passages(corpora.load(tmp_path / "a.txt", chunk=240), n=5)
    assert found_within(table, [24]) == [1.0]


# --- two texts, and copies ----------------------------------------------------------------------------------------------

@given(st.lists(st.sampled_from(["the", "bell", "lamp", "Lamp!"]), max_size=12),
       st.lists(st.sampled_from(["the", "bell", "lamp"]), max_size=12), st.integers(1, 3))
def test_similarity_goes_from_0_to_1_and_has_no_direction(first, second, n):
    first, second = " ".join(first), " ".join(second)
    found = similarity(first, second, n)
    assert 0 <= found <= 1 and found == similarity(second, first, n)
    assert similarity(first, first.upper(), n) == (len(first.split()) >= n)


def test_similarity_is_that_of_near_duplicates():
    rng = random.Random(0)
    first = words(rng, 200, SYLLABLES)
    second = first.replace(first[300:400], words(rng, 30, SYLLABLES))
    assert near_duplicates([first, second], 0.1)["similarity"].tolist() == pytest.approx([similarity(first, second)])


@given(st.text("ab ", max_size=12), st.lists(st.text("ab ", max_size=12), max_size=3))
def test_the_longest_copy_against_all_passages(text, sources):
    passages = [text[start:stop] for start in range(len(text)) for stop in range(start, len(text) + 1)]
    copied = [passage for passage in passages if any(passage in source for source in sources)]
    assert longest_copy(text, sources) == max(copied, key=len, default="")  # of equals max takes the first


def test_one_text_in_place_of_a_list_and_passages_of_no_words_are_refused():
    with pytest.raises(ValueError, match="into a list"):
        longest_copy("a lid", "a lid")
    with pytest.raises(ValueError, match="n=0"):
        similarity("a", "b", 0)
    with pytest.raises(ValueError, match="n=0"):
        shared_passages(Corpus("a", "memory", ["a b"], ["a"]), 0)
