"""A GGUF file holds what the model is: read by gguf's own reader tensor by tensor, and run by llama.cpp if that is there."""
import contextlib
import io
import sys

import numpy as np
import pytest
import torch
from exported import NAMES, SHAPE, TOKENIZER, code_in, lively, small_tokenizer, some_ids
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export import MARKED, TEXTS
from test_tokenizer import HARD, SAMPLE

from gptcore.corpora import END_OF_TEXT
from gptcore.export import export
from gptcore.tokenizer import GPT2_PATTERN, GPT4_PATTERN, BPETokenizer, CharTokenizer

gguf = pytest.importorskip("gguf", reason="gguf is not installed")
TYPES = ("f32", "f16", "q8_0")
MODELS = {"exportable": lively, "without biases": lambda: lively(bias=False),
          "untied, heads of their own size": lambda: lively(tied=False, bias=False, qkv_bias=True, n_head=4, head_size=8)}


@pytest.fixture(scope="module", params=MODELS)
def files(request, tmp_path_factory):
    """A model and its files in all types, side by side."""
    model, folder = MODELS[request.param](), tmp_path_factory.mktemp("gguf")
    for kind in TYPES:
        export(model, TOKENIZER, "gguf", folder, type=kind, name="a name")
    return model, {kind: folder / f"model-{kind}.gguf" for kind in TYPES}


def weights_of(model):
    """By hand: where each weight of ours goes, with zeros for the biases that a model lacks."""
    state, c = model.state_dict(), model.config
    names = {"token_embd.weight": "token_embedding.weight", "position_embd.weight": "position_embedding.weight",
             "output_norm.weight": "final_norm.weight", "output_norm.bias": "final_norm.bias"}
    if not c.tied:
        names["output.weight"] = "output.weight"
    for i in range(c.n_layer):
        for theirs, ours in {
            "attn_norm": "norm_1", "attn_qkv": "attention.query_key_value", "attn_output": "attention.projection",
            "ffn_norm": "norm_2", "ffn_up": "mlp.expand", "ffn_down": "mlp.contract",
        }.items():
            for each in ("weight", "bias"):
                names[f"blk.{i}.{theirs}.{each}"] = f"blocks.{i}.{ours}.{each}"
    sizes = {"query_key_value": 3 * c.n_embd, "expand": 4 * c.n_embd}
    zeros = {name: np.zeros(sizes.get(name.split(".")[-2], c.n_embd), dtype=np.float32) for name in names.values()}
    return {theirs: state[ours].numpy() if ours in state else zeros[ours] for theirs, ours in names.items()}


@pytest.mark.parametrize("kind", TYPES)
def test_every_tensor_is_there_and_as_near_as_its_type_can_be(files, kind):
    expected = weights_of(files[0])
    tensors = {each.name: each for each in gguf.GGUFReader(files[1][kind]).tensors}
    assert tensors.keys() == expected.keys()
    for name, weight in expected.items():
        wide = weight.ndim == 2 and name != "position_embd.weight"
        found = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
        assert tensors[name].tensor_type.name == (kind.upper() if wide else "F32")
        assert found.shape == weight.shape
        if not wide or kind == "f32":
            np.testing.assert_array_equal(found, weight)
        elif kind == "f16":
            np.testing.assert_array_equal(found, weight.astype(np.float16).astype(np.float32))
        else:
            blocks = weight.reshape(-1, 32)
            step = np.abs(blocks).max(axis=1, keepdims=True) / 127
            # Half a step, and what 127 of them lose because the step itself is kept in float16.
            assert (np.abs(found.reshape(-1, 32) - blocks) <= step * (0.5 + 127 * 2**-11)).all()


@pytest.mark.parametrize("kind", TYPES)
def test_the_file_says_what_it_holds(files, kind):
    reader, c = gguf.GGUFReader(files[1][kind]), files[0].config
    found = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "gpt2", "general.name": "a name", "general.file_type": {"f32": 0, "f16": 1, "q8_0": 7}[kind],
        "gpt2.vocab_size": TOKENIZER.vocab_size, "gpt2.context_length": 24, "gpt2.embedding_length": 32,
        "gpt2.feed_forward_length": 128, "gpt2.block_count": 2, "gpt2.attention.head_count": c.n_head,
        "gpt2.attention.layer_norm_epsilon": pytest.approx(1e-5), "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.bos_token_id": TOKENIZER.end_of_text,
        "tokenizer.ggml.eos_token_id": TOKENIZER.end_of_text, "tokenizer.ggml.add_bos_token": True}
    assert {name: found[name] for name in expected} == expected
    assert ("general.quantization_version" in found) == (kind == "q8_0")
    tokens, merges = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.merges"]
    assert len(tokens) == TOKENIZER.vocab_size and tokens[-3:] == [*NAMES, END_OF_TEXT]
    assert tokens[97] == "a" and tokens[32] == "Ġ" and tokens[10] == "Ċ"
    assert [merge.replace(" ", "") for merge in merges] == tokens[256:-3]
    assert found["tokenizer.ggml.token_type"] == [1] * (len(tokens) - 3) + [3] * 3


def test_ids_that_stand_for_nothing_are_marked(tmp_path):
    tokenizer = BPETokenizer(TOKENIZER.merges, GPT2_PATTERN, {END_OF_TEXT: 318, "<|a|>": 317})
    export(lively(), tokenizer, "gguf", tmp_path / "new")
    fields = gguf.GGUFReader(tmp_path / "new" / "model-f32.gguf").fields
    assert fields["tokenizer.ggml.tokens"].contents()[-3:] == ["[unused 316]", "<|a|>", END_OF_TEXT]
    assert fields["tokenizer.ggml.token_type"].contents()[-3:] == [5, 3, 3]


CHARACTERS = CharTokenizer("".join(map(chr, range(200, 200 + TOKENIZER.vocab_size - 1))))


@pytest.mark.parametrize(("changed", "tokenizer", "kind", "message"), [
    ({"activation": "relu"}, TOKENIZER, "f32", "has GELU built in, and this model relu; .*--preset exportable"),
    ({}, small_tokenizer(GPT4_PATTERN), "f32", r"by another one \(gpt4\); train with --tokenizer bpe:2000:gpt2"),
    ({}, small_tokenizer(None), "f32", r"by another one \(none\)"),
    ({}, CHARACTERS, "f32", "knows byte pairs only, and this is CharTokenizer.*bpe:2000:gpt2"),
    ({"n_embd": 40}, TOKENIZER, "q8_0", "multiple of 32 weights, and n_embd=40 is none; export as f16, .*--n-embd 64"),
    ({}, TOKENIZER, "q4_0", "type='q4_0' is unknown; choose one of f32, f16, q8_0"),
])
def test_what_llama_cpp_would_run_wrongly_is_refused(tmp_path, changed, tokenizer, kind, message):
    with pytest.raises(ValueError, match=message):
        export(lively(**changed), tokenizer, "gguf", tmp_path / "gguf", type=kind)
    assert not list(tmp_path.iterdir())


def test_a_weight_that_f16_cannot_hold_is_refused(tmp_path):
    model = lively()
    with torch.no_grad():
        model.blocks[1].mlp.expand.weight[3, 4] = 70_000
    with pytest.raises(ValueError, match=r"blocks.1.mlp.expand.weight holds a weight beyond 65504, .*export as f32"):
        export(model, TOKENIZER, "gguf", tmp_path / "gguf", type="f16")
    assert not list(tmp_path.iterdir())
    export(lively(n_embd=40), TOKENIZER, "gguf", tmp_path / "gguf", type="f16")  # rows of any length


def test_without_gguf_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModuleNotFoundError, match="needs the package gguf: pip install gguf"):
        export(lively(), TOKENIZER, "gguf", tmp_path / "gguf")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- llama.cpp

def llama(path):
    package = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip builds it for many minutes")
    with contextlib.redirect_stderr(io.StringIO()):
        return package.Llama(str(path), n_ctx=SHAPE["block_size"], n_threads=1, logits_all=True, verbose=False)


@pytest.mark.parametrize("kind", TYPES)
def test_llama_cpp_computes_the_same_logits(files, kind):
    model, running = files[0], llama(files[1][kind])
    # It looks GELU up in a table of float16, and with q8_0 rounds what goes into a matrix, too. Logits spread by 0.3.
    bound = {"f32": 0.002, "f16": 0.004, "q8_0": 0.06}[kind]
    for row in some_ids():
        running.reset()
        running.eval(row.tolist())
        with torch.no_grad():
            expected = model(row[None])[0].numpy()
        np.testing.assert_allclose(running.scores[:len(row)], expected, rtol=0, atol=bound)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    export(lively(), TOKENIZER, "gguf", folder)
    return llama(folder / "model-f32.gguf")


def ids_of(reader, text):
    return reader.tokenize(text.encode(), add_bos=False, special=True)


@pytest.mark.parametrize("text", [*HARD, SAMPLE, f"{NAMES[0]} Who's there?{END_OF_TEXT}"])
def test_llama_cpp_gives_the_same_ids_for_hard_texts(reader, text):
    assert ids_of(reader, text) == TOKENIZER.encode(text, allowed_special="all")


@settings(max_examples=300, deadline=None)
@given(text=TEXTS | MARKED | st.text(st.sampled_from("a .,'sn"), max_size=30))
def test_llama_cpp_gives_the_same_ids(reader, text):
    assert ids_of(reader, text) == TOKENIZER.encode(text, allowed_special="all")


def test_llama_cpp_begins_a_prompt_as_a_document(reader):
    assert reader.tokenize(b"a b") == [TOKENIZER.end_of_text, *TOKENIZER.encode("a b")]
    assert reader.token_bos() == reader.token_eos() == TOKENIZER.end_of_text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it logs half a letter while it loads
def test_the_readme_shows_code_that_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip builds it for many minutes")
    export(lively(), TOKENIZER, "gguf", tmp_path, type="q8_0")
    monkeypatch.chdir(tmp_path)
    exec(code_in(tmp_path / "README.md").replace("40", "4"), {})
    assert capsys.readouterr().out
