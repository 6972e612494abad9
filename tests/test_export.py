"""The same ids in tiktoken and tokenizers: thousands of generated texts, and our reading of their tables and files."""

import json
import sys

import pytest
import regex
import tiktoken
import tokenizers
from exported import code_in, lively
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tokenizer import BYTES, HARD, PATTERNS, PIECES, SAMPLE, TEXT

from gptcore.corpora import END_OF_TEXT
from gptcore.export import export, from_tiktoken, load_tokenizer_json, save_tokenizer_json, to_tiktoken
from gptcore.export.ranks import UNRETURNING
from gptcore.tokenizer import GPT2_PATTERN, GPT4_PATTERN, BPETokenizer, CharTokenizer, load_tokenizer

NAMES = ["<|user|>", "<|user|>>", "[INST]"]  # one begins as another one does
RUNS = st.tuples(st.sampled_from("a \n\r\t한😀א\x00"), st.integers(1, 300)).map(lambda run: run[0] * run[1])
RIGHT_TO_LEFT = st.text("אבגדהשלום عربي\u200f\u202b 1,.\n", max_size=40)
EMOJI = st.text("👩\u200d👧🇪🇺🏽é\u0301 a", max_size=20)
TEXTS = (TEXT | PIECES | BYTES | RUNS | RIGHT_TO_LEFT | EMOJI).filter(lambda text: not any(name in text for name in NAMES))
MARKED = st.lists(TEXT | st.sampled_from([*NAMES, END_OF_TEXT, "<|user|", " "]), max_size=8).map("".join)


@pytest.fixture(scope="module", params=PATTERNS, ids=["whole", "gpt2", "gpt4"])
def judges(request, tmp_path_factory):
    """A tokenizer, as tiktoken has it, and as tokenizers reads it from the file."""
    tokenizer = BPETokenizer.train(SAMPLE * 2, 260 + 90, request.param, special_tokens=NAMES, progress=False)
    path = tmp_path_factory.mktemp("export") / "new folder" / "tokenizer.json"
    save_tokenizer_json(tokenizer, path)
    assert [file.name for file in path.parent.iterdir()] == ["tokenizer.json"]
    return tokenizer, to_tiktoken(tokenizer), tokenizers.Tokenizer.from_file(str(path))


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_have_the_same_ids(judges, text):
    ours, tik, face = judges
    assert ours.encode(text) == tik.encode(text) == face.encode(text).ids
    assert ours.decode(ours.encode(text)) == text


@settings(max_examples=1500, deadline=None)
@given(text=TEXTS)
def test_every_text_has_the_same_ids(judges, text):
    ours, tik, face = judges
    ids = ours.encode(text)
    assert ids == tik.encode(text, disallowed_special=()) == face.encode(text).ids
    assert ours.decode(ids) == tik.decode(ids) == face.decode(ids) == text


@settings(max_examples=500, deadline=None)
@given(text=MARKED)
def test_special_tokens_have_the_same_ids(judges, text):
    ours, tik, face = judges
    ids = ours.encode(text, allowed_special="all")
    assert ids == face.encode(text).ids
    if NAMES[1] not in text:  # tiktoken takes whichever it finds first of two that begin alike
        assert ids == tik.encode(text, allowed_special="all")
    assert ours.decode(ids, special_tokens=True) == face.decode(ids, skip_special_tokens=False) == text


def test_the_file_is_read_again(judges, tmp_path):
    ours, _, face = judges
    face.save(str(tmp_path / "tokenizer.json"))
    again = load_tokenizer_json(tmp_path / "tokenizer.json")
    assert again.hash == ours.hash and again.special_tokens == ours.special_tokens


def test_the_folder_for_tiktoken_opens_as_its_readme_says(judges, tmp_path, monkeypatch, capsys):
    """Two of them, one after the other, at the same place: tiktoken keeps a copy of a table under its path."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / ".cache"))
    monkeypatch.chdir(tmp_path)
    for tokenizer in (BPETokenizer([(97, 98)]), judges[0]):
        export(lively(), tokenizer, "tiktoken", ".")
        exec(code_in(tmp_path / "README.md"), found := {})
        encoding = found["encoding"]
        assert json.loads(capsys.readouterr().out) == tokenizer.encode("Once upon a time")
        for text in HARD:
            assert encoding.encode(text) == tokenizer.encode(text)
        assert encoding.encode(f"a{END_OF_TEXT}b", allowed_special="all") == tokenizer.encode(f"a{END_OF_TEXT}b", "all")
        assert from_tiktoken(encoding).hash == tokenizer.hash
    assert list((tmp_path / ".cache").iterdir())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab ", min_size=1, max_size=30), min_size=1, max_size=4), TEXT | st.text("ab ", max_size=50))
@pytest.mark.filterwarnings("ignore:no pair is left")
def test_any_trained_tokenizer_can_be_exported_and_read_again(texts, text):
    ours = BPETokenizer.train(texts * 2, 300, pattern=None, progress=False)
    encoding = to_tiktoken(ours)
    assert ours.encode(text) == encoding.encode(text)
    again = from_tiktoken(encoding)
    assert again.merges == ours.merges and again.hash == ours.hash


def test_the_vocabularies_have_the_same_size(judges):
    ours, tik, face = judges
    assert ours.vocab_size == tik.n_vocab == face.get_vocab_size() == 350
    assert tik.special_tokens_set == set(ours.special_tokens)
    assert {name: face.token_to_id(name) for name in ours.special_tokens} == ours.special_tokens


# ---------------------------------------------------------------- reading rank tables

def foreign(pattern=GPT2_PATTERN, holes=3):
    """An Encoding like OpenAI's: the bytes in GPT-2's order, special tokens beyond a hole, `<|endoftext|>` not the last."""
    ours = BPETokenizer.train(SAMPLE, 257 + 60, pattern, progress=False)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = printable + [byte for byte in range(256) if byte not in printable]
    tokens = [bytes([byte]) for byte in order] + [ours.token_bytes(i) for i in range(256, 316)]
    first = len(tokens) + holes
    return tiktoken.Encoding("foreign", pat_str=pattern, mergeable_ranks={raw: i for i, raw in enumerate(tokens)},
                             special_tokens={END_OF_TEXT: first, "<|fim|>": first + 2})


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
def test_a_foreign_table_gives_its_ids(pattern, tmp_path):
    encoding = foreign(pattern)
    ours = from_tiktoken(encoding)
    assert ours.byte_order[:3] == b'!"#' and ours.vocab_size == encoding.n_vocab == 322
    assert ours.end_of_text == encoding.eot_token == 319
    ours.save(tmp_path / "foreign.json")
    again = load_tokenizer(tmp_path / "foreign.json")
    save_tokenizer_json(again, tmp_path / "tokenizer.json")
    face = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*HARD, f"{SAMPLE}<|fim|>{SAMPLE}{END_OF_TEXT}", *(chr(i) for i in range(0x300))]:
        ids = encoding.encode(text, allowed_special="all")
        assert ours.encode(text, "all") == again.encode(text, "all") == face.encode(text).ids == ids
        assert to_tiktoken(again).encode(text, allowed_special="all") == ids
        assert ours.decode(ids, special_tokens=True) == text


FOREIGN = foreign()
READ = from_tiktoken(FOREIGN)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_a_foreign_table_gives_its_ids_for_every_text(text):
    assert READ.encode(text) == FOREIGN.encode(text)


@pytest.mark.parametrize(("name", "pattern"), [("gpt2", GPT2_PATTERN), ("cl100k_base", GPT4_PATTERN)])
def test_the_tables_of_gpt2_and_gpt4_give_their_ids(name, pattern, monkeypatch):
    def no_network(path):
        raise FileNotFoundError(path)
    monkeypatch.setattr("tiktoken.load.read_file", no_network)
    try:
        encoding = tiktoken.get_encoding(name)
    except (FileNotFoundError, ImportError):
        pytest.skip(f"the table of {name} is not on this machine")
    ours = from_tiktoken(encoding)
    assert ours.vocab_size == encoding.n_vocab and ours.end_of_text == encoding.eot_token
    for text in [*HARD, *(chr(i) for i in range(0x3000))]:
        assert ours.encode(text) == encoding.encode(text)
        assert BPETokenizer(ours.merges, pattern, ours.special_tokens, ours.byte_order).encode(text) == ours.encode(text)


BYTE_RANKS = {bytes([byte]): byte for byte in range(256)}


@pytest.mark.parametrize(("more", "message"), [
    ({b"ab": 257}, "not the 256 bytes and then the merges"),
    ({b"ab": 256, b"abcd": 257}, r"token 257 of odd, b'abcd', is not two earlier tokens joined but 3"),
])
def test_tables_that_no_training_made_are_refused(more, message):
    encoding = tiktoken.Encoding("odd", pat_str=GPT2_PATTERN, mergeable_ranks=BYTE_RANKS | more, special_tokens={})
    with pytest.raises(ValueError, match=message):
        from_tiktoken(encoding)


def test_a_table_without_all_bytes_is_refused():
    ranks = {raw: i for i, raw in enumerate([*(bytes([byte]) for byte in range(255)), b"ab", b"abc"])}
    encoding = tiktoken.Encoding("odd", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    with pytest.raises(ValueError, match="not the 256 bytes and then the merges"):
        from_tiktoken(encoding)


def test_a_table_without_end_of_text_gets_one_behind_all_others():
    encoding = tiktoken.Encoding("bare", pat_str=r"(?s:.+)", mergeable_ranks=BYTE_RANKS, special_tokens={"<|a|>": 260})
    ours = from_tiktoken(encoding)
    assert ours.special_tokens == {"<|a|>": 260, END_OF_TEXT: 261} and ours.pattern is None


# ---------------------------------------------------------------- what cannot be said elsewhere

def test_two_ids_for_the_same_bytes_are_refused(tmp_path):
    tokenizer = BPETokenizer([(97, 98), (98, 99), (256, 99), (97, 257)])
    with pytest.raises(ValueError, match="ids 258 and 259 both stand for b'abc'"):
        to_tiktoken(tokenizer)
    with pytest.raises(ValueError, match="ids 258 and 259 both stand for b'abc'"):
        save_tokenizer_json(tokenizer, tmp_path / "tokenizer.json")
    assert not list(tmp_path.iterdir())


def test_characters_are_no_table_of_ranks(tmp_path):
    with pytest.raises(ValueError, match=r"tiktoken knows byte pairs only, .*CharTokenizer.* --tokenizer bpe:2000"):
        export(lively(), CharTokenizer("ab"), "tiktoken", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_special_token_that_is_an_ordinary_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ab is both a special token and an ordinary one"):
        save_tokenizer_json(BPETokenizer([(97, 98)], special_tokens=["ab"]), tmp_path / "tokenizer.json")


@pytest.mark.parametrize(("package", "export"), [
    ("tiktoken", to_tiktoken), ("tokenizers", lambda tokenizer: save_tokenizer_json(tokenizer, "never written"))])
def test_a_package_that_is_not_there_is_named(monkeypatch, package, export):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"needs the package {package}: pip install {package}"):
        export(BPETokenizer([]))


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS)
def test_the_pattern_of_tiktoken_cuts_as_the_published_one(text):
    """Under its own name, so that a published tokenizer is known for GPT-2's by what asks for its pattern."""
    assert regex.findall(UNRETURNING, text) == regex.findall(GPT2_PATTERN, text)
    encoding = tiktoken.Encoding("gpt2", pat_str=UNRETURNING, special_tokens={END_OF_TEXT: 256},
                                 mergeable_ranks={bytes([byte]): byte for byte in range(256)})
    assert from_tiktoken(encoding).pattern == GPT2_PATTERN
