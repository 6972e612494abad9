"""The Playhouse: the engine is proved on a tiny grammar, the grammar on its scenes, the reader on damaged scenes."""
import hashlib
import itertools
import math
import random
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from gptcore import corpora, playhouse
from gptcore.playhouse import END, KINDS, LONGEST, LeftGrammar, Options, engine, judge, next_characters, score, write
from gptcore.playhouse.grammar import scene
from gptcore.playhouse.lexicon import DESCRIBED, RHYME_GROUP, RHYME_GROUPS, WORDS

CORPUS = Path(__file__).parents[1] / "data" / "playhouse.txt"
VALIDATION = range(playhouse.SCENES - playhouse.SCENES // 10, playhouse.SCENES)

# A grammar small enough to list: names that begin alike, a choice that depends on an earlier one, a loop, a dead certainty.
ANIMALS = Options({"cat": 0.5, "cow": 0.3, "dog": 0.2})


def farm(choose):
    first = choose(ANIMALS, "spelling")
    choose(Options({" and ": 0.7, " or ": 0.3}), "order")
    choose(Options([animal for animal in ANIMALS if animal != first]), "recall", ANIMALS)
    while choose.length < 14 and choose(Options({"!": 0.4, ".": 0.6}), "closing", Options({"!": 0.9, ".": 0.1})) == "!":
        pass
    choose(engine.only("\n"), "order")


class Enumerator:
    """Interpreter that is told which option to take at each choice; the probability and the alternatives are noted."""

    def __init__(self, script, blind=None):
        self.script, self.blind = list(script), blind
        self.text, self.p, self.widths = "", 1.0, []

    @property
    def length(self):
        return len(self.text)

    def __call__(self, options, kind="order", blind=None):
        options = blind if blind and kind == self.blind else options
        i = self.script[len(self.widths)] if len(self.widths) < len(self.script) else 0
        option = list(options)[i]
        self.widths.append(len(options))
        self.script = [*self.script[:len(self.widths) - 1], i, *self.script[len(self.widths):]]
        self.text += option
        self.p *= options[option]
        return option


def enumerate_texts(grammar, blind=None):
    """Every text of the grammar with its probability, depth first over all scripts of choices."""
    texts, script = defaultdict(float), []
    while True:
        run = Enumerator(script, blind)
        grammar(run)
        texts[run.text] += run.p
        script, widths = run.script[:len(run.widths)], run.widths
        while script and script[-1] + 1 == widths[len(script) - 1]:
            script.pop()
        if not script:
            return texts
        script[-1] += 1


TEXTS = enumerate_texts(farm)


def test_probabilities_of_all_texts_sum_to_one():
    assert len(TEXTS) > 30
    assert sum(TEXTS.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("text", TEXTS)
def test_score_is_the_probability_of_the_text(text):
    found = score_farm(text)
    assert found.logprob == pytest.approx(math.log(TEXTS[text]), abs=1e-12)
    assert len(found.nats) == len(found.kinds) == len(text) and found.left_at is None


def score_farm(text, blind=None):
    return engine.score(farm, text, blind)


def test_every_next_character_is_the_ratio_of_prefix_sums():
    mass = defaultdict(float)
    for text, p in TEXTS.items():
        for end in range(len(text) + 1):
            mass[text[:end]] += p
    for prefix, total in mass.items():
        expected = {c: mass[prefix + c] / total for c in {text[len(prefix)] for text in TEXTS if text.startswith(prefix)
                                                          and len(text) > len(prefix)}}
        if prefix in TEXTS:
            expected[END] = TEXTS[prefix] / total
        assert engine.next_characters(farm, prefix) == pytest.approx(expected, abs=1e-12), prefix


def test_character_surprisals_are_those_of_next_characters():
    for text in TEXTS:
        for i, nats in enumerate(score_farm(text).nats):
            assert nats == pytest.approx(-math.log(engine.next_characters(farm, text[:i])[text[i]]), abs=1e-12)


def test_writer_draws_each_text_as_often_as_it_is_probable():
    n = 4000
    counts = defaultdict(int)
    for seed in range(n):
        counts[engine.write(farm, seed)] += 1
    assert set(counts) <= set(TEXTS)
    chi2 = sum((counts[text] - n * p) ** 2 / (n * p) for text, p in TEXTS.items() if n * p >= 5)
    bins = sum(n * p >= 5 for p in TEXTS.values())
    assert chi2 < bins + 5 * math.sqrt(2 * bins)  # five standard deviations of chi-squared


def test_a_blind_scorer_is_a_distribution_too_and_pays_more_on_average():
    for kind in ("recall", "closing"):
        blind = enumerate_texts(farm, blind=kind)
        assert sum(blind.values()) == pytest.approx(1, abs=1e-12)
        for text in TEXTS:
            assert math.exp(score_farm(text, kind).logprob) == pytest.approx(blind[text], rel=1e-9)
        assert sum(p * score_farm(text, kind).nats.sum() for text, p in TEXTS.items()) > sum(
            p * score_farm(text).nats.sum() for text, p in TEXTS.items())


@pytest.mark.parametrize("text, position", [("cat and cat.\n", 9), ("cat xor dog.\n", 4), ("cat and dog.", 12), ("", 0),
                                            ("cat and dog.\n\n", 13), ("bat and dog.\n", 0), ("cat and dog?\n", 11)])
def test_a_text_outside_the_grammar_scores_minus_infinity_and_says_where(text, position):
    found = score_farm(text)
    assert found.logprob == -math.inf
    assert found.left_at == position
    if position < len(text):
        with pytest.raises(LeftGrammar) as left:
            engine.next_characters(farm, text)
        assert left.value.position == position


@pytest.mark.parametrize("bad", [{"a": 1, "ab": 1}, {"": 1}, {"": 1, "a": 1}, {"a": 0, "b": 1}, {"a": -1, "b": 3}])
def test_options_that_could_be_read_in_two_ways_are_refused(bad):
    with pytest.raises(ValueError):
        Options(bad)


# The scenes.


def test_the_corpus_is_what_the_grammar_writes():
    data = CORPUS.read_bytes()
    assert hashlib.sha256(data).hexdigest() == corpora.PLAYHOUSE_SHA256
    assert data.decode("ascii") == playhouse.corpus_text()
    assert 990_000 < len(data) < 1_010_000


def test_scenes_are_short_enough_for_a_modest_block():
    longest = max(len(write(seed)) for seed in range(1000))
    assert 600 < longest <= LONGEST


def test_a_writer_that_loves_long_words_stays_short_enough():
    class Longwinded(engine.Writer):
        def __call__(self, options, kind="order", blind=None):
            if self.random() < 0.7:
                piece = max(options, key=len)
                self.pieces.append(piece)
                self.length += len(piece)
                return piece
            return super().__call__(options, kind, blind)

    for seed in range(400):
        scene(writer := Longwinded(seed))
        assert writer.length <= LONGEST


def test_write_score_and_next_agree_on_scenes():
    for seed in range(3):
        text = write(seed)
        found = score(text)
        for i in range(0, len(text), 7):
            assert -math.log(next_characters(text[:i])[text[i]]) == pytest.approx(found.nats[i], abs=1e-9)
        assert next_characters(text) == {END: 1.0}
        assert found.logprob == pytest.approx(-found.nats.sum())
        assert sum(found.by_kind().values()) == pytest.approx(found.nats.sum())
        assert set(found.kinds) <= set(KINDS)


def test_blind_options_hold_all_that_is_sure():
    """A scorer blind to a kind still expects what is written: with infinite surprisal it would be no scorer."""

    class Careful(engine.Writer):
        def __call__(self, options, kind="order", blind=None):
            assert (blind is None) == (kind in ("spelling", "order"))
            if blind and kind != "cast":  # a cast of the grammar is always within the names
                assert set(options) <= set(blind), (kind, set(options) - set(blind))
            return super().__call__(options, kind, blind)

    for seed in range(300):
        scene(Careful(seed))
    for kind in KINDS:
        assert all(np.isfinite(score(write(seed), kind).nats).all() for seed in range(20))


def test_each_kind_of_structure_is_worth_two_percent_of_all_bits():
    texts = [write(seed) for seed in VALIDATION]
    floor = sum(score(text).nats.sum() for text in texts)
    for kind in KINDS:
        blind = sum(score(text, kind).nats.sum() for text in texts)
        assert blind > 1.02 * floor, f"{kind} is worth {100 * (blind / floor - 1):.2f} % of all bits"


def test_the_floor_lies_where_the_course_needs_it():
    texts = [write(seed) for seed in VALIDATION]
    bits = sum(score(text).nats.sum() for text in texts) / sum(map(len, texts)) / math.log(2)
    assert 0.7 < bits < 1.1


def test_score_refuses_a_kind_that_is_none():
    with pytest.raises(ValueError, match="'rime' is no kind"):
        score(write(0), "rime")


def test_lexicon():
    assert len({word for words in WORDS.values() for word in words}) > 2500
    assert len(RHYME_GROUP) == sum(map(len, RHYME_GROUPS)), "a word stands in two rhyme groups"
    assert min(map(len, RHYME_GROUPS)) >= 2
    assert set(DESCRIBED) | set(DESCRIBED.values()) <= set(WORDS)
    for words in WORDS.values():
        assert all(word.isascii() and word.strip() == word and "\n" not in word for word in words)


# The tolerant reader.


def test_reader_finds_nothing_wrong_with_scenes():
    total = playhouse.Verdict()
    for seed in range(400):
        verdict = judge(write(seed))
        assert verdict.right == verdict.asked, f"seed {seed}:\n{verdict}"
        total += verdict
    assert all(total.asked[kind] > 300 for kind in KINDS), total


def swap(pattern, replacement, count=1):
    return lambda text: re.sub(pattern, replacement, text, count=count)


DAMAGES = {
    "spelling": [swap(r"\b(the)\b", "teh"),
                 swap(r"\b(\w)(\w)(\w+)\b", r"\1\3\2q")],
    "order": [swap(r"\n(\w\w?\w?): \w+", r"\n\1: of of"),
              swap(r" has the ", " the has "),
              swap(r"\nEpilogue:", "\nEplogue")],
    "agreement": [swap(r"\b(these|those|both|few|several) (?=\w+s )", "this "),
                  swap(r"\b(Every|Another|Each|One) (?=\w+ (always|never|still|often|rarely) )", "Several "),
                  swap(r"(\[\w+ [^.]*)\bher\b", r"\1his")],
    "closing": [swap(r"\.\]", "."),
                swap(r"\) ", " "),
                swap(r"\?\n", ".\n"),
                swap(r'"\n', "\n")],
    "cast": [swap(r"\n(\w\w?\w?): (?=[A-Z(])", "\nBartholomew: "),
             swap(r"Cast: \w+,", "Cast: Xenia,")],
    "recall": [swap(r"\b(I have|\w+ has) the (\w+)([.!]\n)", r"\1 the moon\3"),
               swap(r": I am the ", ": Ida is the "),
               swap(r" gives the (\S+ )?\S+ to", " gives the moon to"),
               swap(r"(\? *\n\w+: In the )\w+", r"\1moon"),
               swap(r"(Where is the .*\?\n\w+: ).*\n", r"\1Beneath the moon.\n")],
    "counts": [swap(r"bong\.\]", "bong, bong.]"),
               swap(r"I see \w+", "I see eleven"),
               swap(r"Now I have \w+", "Now I have zero"),
               swap(r"\[The \w+ bow", "[The nine bow"),
               swap(r"one, two", "two, one"),
               swap(r"; [^;\n]*\.\n", ".\n")],
    "rhyme": [swap(r"(  .*,\n  .* )\w+\.\n", r"\1orange.\n"),
              swap(r"(  .*,\n)  .*\n", r"\1")],
}


@pytest.mark.parametrize("kind, i", [(kind, i) for kind in DAMAGES for i in range(len(DAMAGES[kind]))])
def test_reader_notices_damage_of_each_kind(kind, i):
    """Of the scenes that a damage changes, most must lose a point of that kind."""
    noticed = changed = 0
    for seed in range(250):
        text = write(seed)
        damaged = DAMAGES[kind][i](text)
        if damaged == text:
            continue
        verdict = judge(damaged)
        changed += 1
        noticed += verdict.right[kind] < verdict.asked[kind]
    assert changed >= 3
    assert noticed >= 0.75 * changed, f"noticed {noticed} of {changed}"


def test_reader_survives_anything():
    generator = random.Random(0)
    for _ in range(200):
        text = write(generator.randrange(50))
        cut = "".join(c for c in text if generator.random() > 0.1)
        lines = text.split("\n")
        generator.shuffle(lines)
        for broken in (cut, "\n".join(lines), text[generator.randrange(len(text)):], "", "\n", "[", "Ada: "):
            verdict = judge(broken)
            assert all(0 <= verdict.right[kind] <= verdict.asked[kind] for kind in KINDS)


def test_reader_tells_a_shuffled_scene_from_a_true_one():
    generator = random.Random(1)
    shuffled = playhouse.Verdict()
    for seed in range(50):
        words = write(seed).split(" ")
        generator.shuffle(words)
        shuffled += judge(" ".join(words))
    assert shuffled.share("order") < 0.5 and shuffled.share("closing") < 0.8
    assert shuffled.share("spelling") > 0.9  # the words are all there still


def test_enumerator_finds_all_texts_of_a_grammar_without_loops():
    def pair(choose):
        choose(Options("ab"), "x")
        choose(Options("cde"), "x")

    assert set(enumerate_texts(pair)) == {"".join(p) for p in itertools.product("ab", "cde")}


def test_bags_by_hand():
    """Counted from one text: the letters a, a, b and an end, the words " ", x, x, y."""

    def grammar(choose):
        choose(Options(["aab", "cd"]), "spelling")
        choose(engine.only(" x x y"), "order")

    bags = engine.count_bags(grammar, ["aab x x y"])
    assert bags.spelling == {"a": 2, "b": 1, END: 1} and bags.order == {" ": 1, "x ": 2, "y": 1}

    def bits(text, kind):
        return list(engine.score(grammar, text, kind, bags).nats / math.log(2))

    assert bits("aab x x y", "spelling")[:3] == pytest.approx([1, 1, 4])  # the end of the word is with its last letter
    assert bits("cd x x y", "spelling")[:2] == pytest.approx([3, 5])  # never seen: as if seen half a time
    assert bits("aab x x y", "order")[3:] == pytest.approx([2 + 1 + 1 + 2, 0, 0, 0, 0, 0])


def test_by_kind_begins_with_the_largest():
    values = list(score(write(0)).by_kind().values())
    assert values == sorted(values, reverse=True)
