"""Tokenizers: by hand, against a brute-force trainer and tiktoken, and by their laws."""

import gc
import json
import os
import unicodedata
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pooch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.bpe import learn_merges, replay_merges
from gptcore.corpora import END_OF_TEXT, KNOWN, read_text
from gptcore.export import to_tiktoken
from gptcore.tokenizer import (
    GPT2_PATTERN,
    GPT4_PATTERN,
    WORDS,
    BPETokenizer,
    CharTokenizer,
    _splitter,
    encode_document,
    load_tokenizer,
)

PATTERNS = [None, GPT2_PATTERN, GPT4_PATTERN]
SAMPLE = """It was the best of nights; the lantern's light fell on 1,024 letters, and nobody'd read them.
"Who's there?" said the baker. \t "I'LL ask twice," said the baker's wife.\r\n\r\n
   Naïve café, 日本語 한국어, ℕ ∋ ¾, 😀😀!\n\n"""
# Characters that Unicode 14 knows: regex and tiktoken come with tables of different years. (Hypothesis also tries the
# strings it finds in our source, the special token among them.)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=60).filter(lambda text: END_OF_TEXT not in text)
PIECES = st.lists(st.sampled_from([*SAMPLE.split(" "), *" \n\r\tſ\xa0\x85\x1c\u200d\u3000", "\r\n", "'s", "'LL", "aaaa",
                                   "12345"]), max_size=20).map("".join)
BYTES = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", errors="replace"))
HARD = ["", "a", "a" * 5000, " " * 300, "\r\n" * 50, "한국어 텍스트", "👩‍👩‍👧‍👦🇪🇺", "e\u0301", "\x00\x01",
        "'S 'll 'LL 'ſ", "x \n y  \n", "1234567", "a\u2028b", "\ufeff", "a \x1c\x1f b", " \x85 \u180e\u200b b", SAMPLE]


# ---------------------------------------------------------------- independent implementations

def replace_pair(ids, pair, new):
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i:i + 2]) == pair:
            out, i = [*out, new], i + 2
        else:
            out, i = [*out, ids[i]], i + 1
    return out


def learn_by_counting(chunks, n_merges):
    """Count all pairs anew for each merge; max keeps the first of equals, and a Counter the order of occurrence."""
    chunks, merges = [list(chunk) for chunk in chunks], []
    while len(merges) < n_merges:
        counts = Counter(pair for ids in chunks for pair in pairwise(ids))
        if not counts:
            break
        merges.append(max(counts, key=counts.get))
        chunks = [replace_pair(ids, merges[-1], 255 + len(merges)) for ids in chunks]
    return merges


@pytest.fixture(scope="module", params=PATTERNS, ids=["whole", "gpt2", "gpt4"])
def pair_of_judges(request):
    tokenizer = BPETokenizer.train(SAMPLE * 2, 257 + 90, pattern=request.param, progress=False)
    return tokenizer, to_tiktoken(tokenizer)


# ---------------------------------------------------------------- byte pair encoding: training

def test_training_by_hand():
    # "abab abab" has ab 4 times, then XX twice: X = ab, Y = XX; then "Y " and " Y" once each, the earlier wins.
    tokenizer = BPETokenizer.train("abab abab", 260, pattern=None, progress=False)
    assert tokenizer.merges == [(97, 98), (256, 256), (257, 32)]
    assert tokenizer.vocab_size == 260 and tokenizer.end_of_text == 259
    assert tokenizer.encode("ababab ") == [257, 256, 32]
    assert tokenizer.token_bytes(258) == b"abab "


def test_ties_go_to_the_pair_that_occurs_first():
    assert learn_merges({b"zy": 1, b"ab": 1}, 2) == [(122, 121), (97, 98)]
    assert learn_merges({b"zy": 1, b"ab": 2}, 1) == [(97, 98)]
    # ab and cd are equal until the merge of xa takes the first ab away: first places are looked up when they matter.
    chunks = [b"xab", b"xa", b"xa", b"cd", b"ab", b"cd", b"xa"]
    assert learn_merges(Counter(chunks), 2) == learn_by_counting(chunks, 2) == [(120, 97), (99, 100)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab", min_size=1, max_size=14) | st.text("abcd ", min_size=1, max_size=14), max_size=12),
       st.integers(0, 40))
def test_training_equals_counting_everything_anew(texts, n_merges):
    chunks = [text.encode() for text in texts]
    assert learn_merges(Counter(chunks), n_merges) == learn_by_counting(chunks, n_merges)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_training_on_a_longer_text_equals_counting_everything_anew(pattern):
    tokenizer = BPETokenizer.train(SAMPLE * 2, 257 + 90, pattern=pattern, progress=False)
    chunks = [c.encode() for c in (_splitter(pattern)(SAMPLE * 2))]
    assert tokenizer.merges == learn_by_counting(chunks, 90)
    assert b"".join(chunks) == (SAMPLE * 2).encode()


def test_no_pair_crosses_texts_or_chunks():
    with pytest.warns(UserWarning, match=r"no pair is left after 2 merges: vocab_size is 259, not the 300"):
        tokenizer = BPETokenizer.train(["ab", "cd"], 300, pattern=None, progress=False)
    assert tokenizer.merges == [(97, 98), (99, 100)] and tokenizer.vocab_size == 259
    with pytest.warns(UserWarning, match="259, not the 260"):
        BPETokenizer.train(["ab", "cd"], 260, pattern=None, progress=False)
    tokenizer = BPETokenizer.train("to be to be to be", 261, pattern=GPT2_PATTERN, progress=False)
    assert all(b" " not in tokenizer.token_bytes(i)[1:] for i in range(tokenizer.vocab_size))


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_when_asked_for(capfd, progress):
    BPETokenizer.train("ab ab ab", 259, progress=progress)
    out, err = capfd.readouterr()
    assert ("2/2" in err) == progress and not out


def test_verbose_prints_each_merge_and_no_bar(capfd):
    BPETokenizer.train("€a €a\n" + 1000 * "é", 260, pattern=None, verbose=True)
    out, err = capfd.readouterr()
    assert not err and out.splitlines() == [
        "merge 1/3: (195, 169) -> 256 ('é') 1,000 occurrences",
        "merge 2/3: (256, 256) -> 257 ('éé') 999 occurrences",  # as pairs are counted, and overlap
        "merge 3/3: (257, 257) -> 258 ('éééé') 499 occurrences"]
    BPETokenizer.train("€a €a", 258, pattern=None, verbose=True)
    assert capfd.readouterr().out == "merge 1/1: (226, 130) -> 256 (b'\\xe2\\x82') 2 occurrences\n"


def test_an_iterator_is_read_once():
    texts = iter(["ab ", "ab", "ab"])
    assert BPETokenizer.train(texts, 258, progress=False).merges == [(97, 98)]
    assert next(texts, None) is None


@given(st.lists(TEXT | PIECES, max_size=6).map("".join))
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
def test_cutting_into_words_first_changes_no_chunk(pattern, text):
    split = _splitter(pattern)
    assert [chunk for word in WORDS.findall(text) for chunk in split(word)] == split(text)


@given(st.lists(st.text(" \n\r\t\x1c\x85\xa0\u2028\u0301aSé1'.ſ", max_size=12), max_size=4).map("".join))
@settings(max_examples=1000, deadline=None)
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
def test_nor_does_it_among_white_space(pattern, text):
    split = _splitter(pattern)
    assert [chunk for word in WORDS.findall(text) for chunk in split(word)] == split(text)


@pytest.mark.parametrize("searching", [True, False])
def test_training_leaves_the_search_for_circles_as_it_was(searching):
    seen = []
    (gc.enable if searching else gc.disable)()
    try:
        learn_merges({b"ab": 1}, 1, lambda *_: seen.append(gc.isenabled()))
        assert gc.isenabled() == searching and seen == [False]
    finally:
        gc.enable()


def test_a_million_letters_take_seconds():
    tokenizer = BPETokenizer.train("a" * 2**20, 257 + 20, pattern=None, progress=False)
    assert tokenizer.encode("a" * (2**20 + 1)) == [275, 97]


def test_exactly_enough_merges_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert BPETokenizer.train(["ab", "cd"], 259, pattern=None, progress=False).vocab_size == 259
        assert BPETokenizer.train("", 257, progress=False).vocab_size == 257


def test_published_merges_of_tiny_shakespeare():
    known = KNOWN["tinyshakespeare"]
    folders = [Path(os.environ.get("GPTCORE_DATA", "/nowhere")), Path(pooch.os_cache("gptcore"))]
    paths = [folder / known.file_name for folder in folders if (folder / known.file_name).is_file()]
    if not paths:
        pytest.skip(f"{known.file_name} is neither in GPTCORE_DATA nor in the download cache")
    text = read_text(paths[0], known.sha256)
    tokenizer = BPETokenizer.train(text, 257 + 244, pattern=None, progress=False)
    assert tokenizer.merges[0] == (101, 32) and tokenizer.merges[243] == (292, 256)
    assert Counter(pairwise(text.encode()))[101, 32] == 27_643
    ids = [72, 105, 261, 77, 265, 110, 97, 378, 279, 84, 262, 102, 105, 107]
    assert tokenizer.encode("Hi, My name is Toufik") == ids and round(21 / len(ids), 2) == 1.5
    ids = tokenizer.encode(text)
    assert len(ids) == 574_057 and len(set(ids)) == 308 and ids.count(499) == 494 and tokenizer.decode(ids) == text
    assert round(len(text.encode()) / len(ids), 2) == 1.94


# ---------------------------------------------------------------- byte pair encoding: encoding

@pytest.mark.parametrize("text", HARD)
def test_encoding_hard_texts_equals_tiktoken(pair_of_judges, text):
    ours, theirs = pair_of_judges
    assert ours.encode(text) == theirs.encode(text)
    assert ours.decode(ours.encode(text)) == text


@settings(max_examples=400, deadline=None)
@given(text=TEXT | PIECES | BYTES)
def test_encoding_equals_tiktoken(pair_of_judges, text):
    ours, theirs = pair_of_judges
    assert ours.encode(text) == theirs.encode(text)
    assert ours.decode(ours.encode(text)) == text


@given(st.lists(st.sampled_from(b"abc"), max_size=30).map(bytes), st.lists(st.text("abc", max_size=9), max_size=5))
def test_encoding_is_replaying_the_merges_one_by_one(chunk, texts):
    merges = learn_by_counting([text.encode() for text in texts], 12)
    ids = list(chunk)
    for m, pair in enumerate(merges):
        ids = replace_pair(ids, pair, 256 + m)
    assert replay_merges(chunk, {pair: 256 + m for m, pair in enumerate(merges)}) == ids


def test_encoding_twice_gives_the_same_and_nothing_shared():
    tokenizer = BPETokenizer.train("ab ab ab", 259, progress=False)
    first = tokenizer.encode("ab")
    first.append(0)
    assert tokenizer.encode("ab") == tokenizer.encode("ab") == first[:-1]


def test_what_is_remembered_has_bounds(monkeypatch):
    monkeypatch.setattr("gptcore.tokenizer.MOST_KEPT", 3)
    tokenizer = BPETokenizer([(97, 98)])
    for text in ["ab" * 40, *(f"ab{i:x} ab" for i in range(20))]:
        assert tokenizer.encode(text) == replace_pair(list(text.encode()), (97, 98), 256)
    assert list(tokenizer._ids) == ["ab", "0", " ab"]


@given(st.lists(st.text("abc ", max_size=250), min_size=1, max_size=3), st.text("abc ", max_size=250))
def test_short_and_long_chunks_are_replayed_alike(texts, chunk):
    merges = learn_merges(Counter(text.encode() for text in texts), 40)
    joined = {pair: 256 + m for m, pair in enumerate(merges)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gptcore.bpe.SHORT", 10_000)
        short = replay_merges(chunk.encode(), joined)
        patch.setattr("gptcore.bpe.SHORT", -1)
        assert replay_merges(chunk.encode(), joined) == short


def test_decoding_broken_bytes_never_fails():
    tokenizer = BPETokenizer([])
    assert tokenizer.decode([0xE2, 0x82, 0xAC]) == "€"
    assert tokenizer.decode([65, 0xE2, 0x82, 66]) == "A\ufffdB"


@pytest.mark.parametrize(("merges", "pattern", "message"), [
    ([(97, 98), (97, 98)], None, "merged twice"),
    ([(97, 256)], None, r"\(97, 256\) makes id 256"),
    ([(0, 0), (257, 97)], None, r"\(257, 97\) makes id 257"),
    ([(-1, 97)], None, "smaller ids only"),
    ([(97, -1)], None, "smaller ids only"),
    ([], "(a|b)", "capture"),
    ([], "(", "no regular expression"),
])
def test_impossible_tokenizers_are_refused(merges, pattern, message):
    with pytest.raises(ValueError, match=message):
        BPETokenizer(merges, pattern)


def test_a_pattern_that_loses_characters_is_refused():
    with pytest.raises(ValueError, match="skips characters"):
        BPETokenizer([], r"\w+").encode("two words")


def test_vocab_size_below_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size=256 is below 257"):
        BPETokenizer.train("abc", 256)


# ---------------------------------------------------------------- byte pair encoding: special tokens

CHAT = BPETokenizer.train("ab ab ab", 261, special_tokens=["<|user|>", "<|model|>"], progress=False)


def test_special_tokens_are_counted_and_end_of_text_is_the_last():
    assert CHAT.vocab_size == 261 and len(CHAT.merges) == 2
    assert CHAT.special_tokens == {"<|user|>": 258, "<|model|>": 259, END_OF_TEXT: 260}
    assert [CHAT.token_bytes(i) for i in (258, 259, 260)] == [b"", b"", b""]
    assert BPETokenizer([], special_tokens=[END_OF_TEXT, "<|a|>"]).special_tokens == {"<|a|>": 256, END_OF_TEXT: 257}
    with pytest.raises(ValueError, match=r"vocab_size=258 is below 259, which the 256 bytes and <\|a\|>, b, <\|endoftext"):
        BPETokenizer.train("", 258, special_tokens=["<|a|>", "b"])
    with pytest.warns(UserWarning, match="no pair is left after 1 merges: vocab_size is 259, not the 300"):
        assert BPETokenizer.train("ab", 300, special_tokens=["<|a|>"], progress=False).vocab_size == 259


def test_special_tokens_are_encoded_when_allowed():
    text = f"<|user|>ab<|model|> ab{END_OF_TEXT}"
    ids = [258, 256, 259, 257, 260]
    assert CHAT.encode(text, allowed_special="all") == ids
    assert CHAT.encode(text, allowed_special=["<|model|>", END_OF_TEXT, "<|user|>"]) == ids
    assert CHAT.encode("<|user|><|user|>", allowed_special={"<|user|>"}) == [258, 258]
    assert CHAT.encode("", allowed_special="all") == [] and CHAT.encode("ab", allowed_special="all") == [256]
    assert CHAT.decode(ids) == "ab ab" and CHAT.decode(ids, special_tokens=True) == text


def test_the_longest_special_token_is_taken():
    tokenizer = BPETokenizer([], special_tokens=["<a", "<a>", "a>>"])
    assert tokenizer.encode("<a>><ab", allowed_special="all") == [257, 62, 256, 98]


@pytest.mark.parametrize(("text", "allowed", "message"), [
    ("ab <|model|>", (), r"holds <\|model\|> at character 3, a special token, which is no text; remove it, .*allowed_spec"),
    (f"<|user|>{END_OF_TEXT}", ["<|user|>"], r"holds <\|endoftext\|> at character 8"),
    ("ab", ["<|users|>"], r"allowed_special=\['<\|users\|>'\] must be \"all\" or a list out of <\|user\|>, <\|model\|>"),
    ("ab", "<|user|>", 'must be "all" or a list'),
])
def test_special_tokens_that_are_not_allowed_are_refused(text, allowed, message):
    with pytest.raises(ValueError, match=message):
        CHAT.encode(text, allowed_special=allowed)


def test_special_tokens_are_no_text_to_train_on():
    with pytest.raises(ValueError, match=r"holds <\|user\|> at character 1"):
        BPETokenizer.train(["fine", "a<|user|>"], 300, special_tokens=["<|user|>"], progress=False)


@pytest.mark.parametrize(("special_tokens", "message"), [
    ("<|user|>", r"is one string; write a list, \['<\|user\|>'\]"),
    (["a", "a"], "stands twice"),
    ([""], "needs a name"),
    ({"a": 256}, "must differ and be at least 257, not {'a': 256"),
    ({"a": 300, "b": 300}, "must differ"),
    ({"a": 300, END_OF_TEXT: 300}, "must differ"),
])
def test_impossible_special_tokens_are_refused(special_tokens, message):
    with pytest.raises(ValueError, match=message):
        BPETokenizer([(97, 98)], special_tokens=special_tokens)


@pytest.mark.parametrize("byte_order", [b"", bytes(256), bytes(range(255))])
def test_a_byte_order_names_each_byte_once(byte_order):
    with pytest.raises(ValueError, match="each of the 256 bytes once"):
        BPETokenizer([], byte_order=byte_order)


# ---------------------------------------------------------------- characters

def test_characters_by_hand():
    tokenizer = CharTokenizer.train(["ba", "né\n"])
    assert tokenizer.characters == "\nabné" and tokenizer.vocab_size == 6 and tokenizer.end_of_text == 5
    assert tokenizer.encode("bané") == [2, 1, 3, 4]
    assert [tokenizer.token_bytes(i) for i in (0, 4, 5)] == [b"\n", "é".encode(), b""]


def test_unknown_character_is_named():
    with pytest.raises(ValueError, match=r"'€' \(U\+20AC\) at position 2 is not in the vocabulary"):
        CharTokenizer.train("ab").encode("ba€a€")


@pytest.mark.parametrize("characters", ["", "ba", "aab"])
def test_unsorted_characters_are_refused(characters):
    with pytest.raises(ValueError, match="sorted"):
        CharTokenizer(characters)


@given(TEXT.filter(bool))
def test_characters_come_back(text):
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab_size == len(set(text)) + 1


# ---------------------------------------------------------------- both kinds

KINDS = [CharTokenizer.train(SAMPLE), BPETokenizer.train(SAMPLE, 300, progress=False),
         BPETokenizer.train(SAMPLE, 280, pattern=None, progress=False), BPETokenizer([(97, 97)], pattern=r"\s|\S+"),
         BPETokenizer.train(SAMPLE, 300, special_tokens=["<|user|>"], progress=False),
         BPETokenizer([(3, 4)], GPT2_PATTERN, byte_order=bytes(range(255, -1, -1)))]


@pytest.mark.parametrize("tokenizer", KINDS, ids=repr)
def test_contract_of_both_kinds(tokenizer):
    assert tokenizer.end_of_text == tokenizer.vocab_size - 1
    assert tokenizer.token_bytes(tokenizer.end_of_text) == b""
    ids = encode_document(tokenizer, SAMPLE)
    assert ids.dtype == np.int64 and ids[0] == ids[-1] == tokenizer.end_of_text
    assert ids[1:-1].tolist() == tokenizer.encode(SAMPLE) and tokenizer.end_of_text not in ids[1:-1]
    assert tokenizer.decode(ids) == SAMPLE
    assert b"".join(tokenizer.token_bytes(i) for i in ids) == SAMPLE.encode()
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match=f"id {wrong} is not in the vocabulary; ids go from 0 to"):
            tokenizer.decode([0, wrong])


@pytest.mark.parametrize("tokenizer", KINDS, ids=repr)
def test_special_token_in_a_text_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"holds <\|endoftext\|> at character 3"):
        tokenizer.encode(f"It {END_OF_TEXT} is")
    with pytest.raises(ValueError, match=r"holds <\|endoftext\|> at character 0"):
        CharTokenizer.train(["fine", END_OF_TEXT])
    with pytest.raises(ValueError, match=r"holds <\|endoftext\|> at character 0"):
        BPETokenizer.train(["fine", END_OF_TEXT], 260, progress=False)


@pytest.mark.parametrize("tokenizer", KINDS, ids=repr)
def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new folder" / "tokenizer.json")
    again = load_tokenizer(f"{tmp_path}/new folder/tokenizer.json")
    assert type(again) is type(tokenizer) and again.hash == tokenizer.hash and repr(again) == repr(tokenizer)
    assert again.encode(SAMPLE) == tokenizer.encode(SAMPLE) and again.vocab_size == tokenizer.vocab_size
    assert vars(again).get("special_tokens") == vars(tokenizer).get("special_tokens")
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["tokenizer.json"]


def test_the_file_is_readable_by_people(tmp_path):
    tokenizer = BPETokenizer([(116, 104), (256, 101)], GPT2_PATTERN)
    tokenizer.save(tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert content == {"format": "gptcore tokenizer", "version": 1, "kind": "bpe", "pattern_name": "gpt2",
                       "pattern": GPT2_PATTERN, "merges": ["116 104", "256 101"],
                       "special_tokens": {END_OF_TEXT: 258}, "hash": tokenizer.hash}
    assert ' "116 104",\n' in (tmp_path / "t.json").read_text(encoding="utf-8"), "one merge a line"


def test_the_bytes_can_have_other_ids(tmp_path):
    tokenizer = BPETokenizer([(158, 157)], byte_order=bytes(range(255, -1, -1)), special_tokens={END_OF_TEXT: 300})
    assert tokenizer.encode("abc") == [256, 156] and tokenizer.decode([256, 156, 300]) == "abc"
    assert tokenizer.vocab_size == 301 and tokenizer.end_of_text == 300 and tokenizer.token_bytes(299) == b""
    tokenizer.save(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["byte_order"].startswith("fffefd")
    assert load_tokenizer(tmp_path / "t.json").encode("abc") == [256, 156]


def test_the_listing_is_for_people(tmp_path):
    tokenizer = BPETokenizer([(195, 169), (256, 32), (32, 226)], special_tokens={"<|user|>": 261, END_OF_TEXT: 263})
    tokenizer.save_listing(tmp_path / "new folder" / "vocabulary.txt")
    lines = (tmp_path / "new folder" / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    assert lines[10] == "10  '\\n'" and lines[97] == "97  'a'" and lines[195] == "195  b'\\xc3'"
    assert lines[256:] == ["256  'é' = b'\\xc3' + b'\\xa9'", "257  'é ' = 'é' + ' '", "258  b' \\xe2' = ' ' + b'\\xe2'",
                           "261  <|user|>", f"263  {END_OF_TEXT}", ""]


def test_the_order_of_the_keys_does_not_matter(tmp_path):
    CharTokenizer("aé").save(tmp_path / "t.json")
    text = (tmp_path / "t.json").read_text(encoding="utf-8")
    assert '"characters": "aé"' in text
    (tmp_path / "t.json").write_text(json.dumps(dict(reversed(json.loads(text).items()))), encoding="utf-8")
    assert load_tokenizer(tmp_path / "t.json").encode("éa") == [1, 0]


def test_hashes_tell_tokenizers_apart():
    others = [CharTokenizer("ab"), CharTokenizer("ac"), BPETokenizer([], None), BPETokenizer([], GPT2_PATTERN),
              BPETokenizer([(97, 98)], None), BPETokenizer([(98, 97)], None), BPETokenizer([], None, ["a"]),
              BPETokenizer([], None, byte_order=bytes(range(255, -1, -1))), BPETokenizer([], None, {END_OF_TEXT: 258})]
    assert len({tokenizer.hash for tokenizer in others}) == len(others)
    assert BPETokenizer([(97, 98)]).hash == BPETokenizer([(97, 98)]).hash and len(others[0].hash) == 12


@pytest.mark.parametrize(("damage", "reason"), [
    (lambda text: text[:len(text) // 2], "Expecting|Unterminated"),
    (lambda text: "", "Expecting"),
    (lambda text: "[1, 2]", "gptcore did not write it"),
    (lambda text: '{"model": {"type": "BPE"}}', "gptcore did not write it"),
    (lambda text: text.replace('"version": 1', '"version": 2'), "version 2 and this gptcore reads 1"),
    (lambda text: text.replace("116 104", "116 105"), "its hash does not match"),
    (lambda text: text.replace('"hash"', '"hush"'), "its hash does not match"),
    (lambda text: text + "\udcff", "utf-8"),
])
def test_damaged_and_foreign_files_are_refused_by_name(tmp_path, damage, reason):
    path = tmp_path / "mine.json"
    BPETokenizer([(116, 104), (256, 101)]).save(path)
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=f"^mine.json cannot be used as a tokenizer: .*({reason})"):
        load_tokenizer(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    CharTokenizer("ab").save(path)
    old = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        CharTokenizer("abc").save(path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_the_sample_has_what_the_patterns_tell_apart():
    assert {unicodedata.category(character)[0] for character in SAMPLE} >= set("LNPSZC")
