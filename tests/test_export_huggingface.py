"""Models and tokenizers go to transformers and come back: the same logits, ids and weights, or a refusal."""
import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from exported import NAMES, SHAPE, TOKENIZER, code_in, lively, small_tokenizer, some_ids, without_output_bias
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_export import MARKED, TEXTS
from test_tokenizer import HARD

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may look at the network
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from gptcore.corpora import END_OF_TEXT  # noqa: E402
from gptcore.export import export, from_huggingface  # noqa: E402
from gptcore.gpt import GPT, PRESETS  # noqa: E402
from gptcore.sampling import generate  # noqa: E402
from gptcore.tokenizer import GPT4_PATTERN, BPETokenizer, CharTokenizer  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
NEAR = {"rtol": 0, "atol": 1e-5}

MODELS = {
    "as GPT-2": lambda: lively(dropout=0.1),
    "ReLU, heads of their own size": lambda: lively(activation="relu", n_head=4, head_size=8, attention="explicit"),
    "no bias anywhere": lambda: lively(bias=False),
    "no bias for queries, keys and values": lambda: lively(qkv_bias=False, init="spread"),
    "bias for queries, keys and values only": lambda: lively(bias=False, qkv_bias=True),
    "untied": lambda: lively(tied=False, bias=False),
    "untied, with a bias of zero": lambda: without_output_bias(lively(tied=False)),
}


def opened(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory):
    """A model, the folder of its export, and what transformers makes of that."""
    model, folder = MODELS[request.param](), tmp_path_factory.mktemp("export") / "hf"
    export(model, TOKENIZER, "hf", folder)
    return model, folder, opened(folder)


def test_transformers_computes_the_same_logits(pair):
    model, _, theirs = pair
    with torch.no_grad():
        torch.testing.assert_close(theirs(some_ids()).logits, model(some_ids()), **NEAR)


def test_transformers_writes_the_same_text_with_its_cache(pair):
    model, _, theirs = pair
    prompt = torch.tensor([[TOKENIZER.end_of_text, *TOKENIZER.encode("Who's")]])
    ours = list(generate(model, prompt[0], SHAPE["block_size"] - prompt.size(1), temperature=0))
    for use_cache in (True, False):
        written = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, use_cache=use_cache,
                                  max_new_tokens=len(ours), eos_token_id=-1)
        assert written[0, prompt.size(1):].tolist() == ours


def test_what_was_exported_comes_back_as_it_was(pair):
    model, folder, _ = pair
    again, tokenizer = from_huggingface(folder)
    assert again.config == model.config and tokenizer.hash == TOKENIZER.hash
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_what_transformers_saved_comes_back_as_it_was(pair, tmp_path):
    model, folder, theirs = pair
    theirs.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    again, tokenizer = from_huggingface(tmp_path)
    assert again.config == model.config and tokenizer.hash == TOKENIZER.hash
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())


def test_the_readme_shows_code_that_runs(pair, monkeypatch, capsys):
    monkeypatch.chdir(pair[1])
    source = code_in(pair[1] / "README.md").replace("40", "4")
    exec(source, {})
    assert END_OF_TEXT + "Once upon a time" in capsys.readouterr().out


def test_a_bias_that_was_learned_elsewhere_is_kept(tmp_path):
    """The zeros that stand for no bias may be trained by transformers; then the model has biases."""
    model = lively(bias=False)
    export(model, TOKENIZER, "hf", tmp_path / "hf")
    theirs = opened(tmp_path / "hf")
    with torch.no_grad():
        theirs.transformer.h[1].ln_2.bias[3] = 1
    theirs.save_pretrained(tmp_path / "tuned")
    again, _ = from_huggingface(tmp_path / "tuned")
    assert again.config == dataclasses.replace(model.config, bias=True)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(some_ids()), theirs(some_ids()).logits, **NEAR)


@pytest.mark.parametrize(("changed", "message"), [
    ({"n_head": 3, "head_size": 10}, "3 heads of 10 channels make 30 together, .* n_embd=32; .*--preset exportable"),
    ({"tied": False}, "output layer has a bias.* tied=True, as --preset exportable does, or with bias=False"),
])
@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_what_a_gpt2_cannot_be_is_refused(tmp_path, changed, message, to):
    with pytest.raises(ValueError, match=message):
        export(lively(**changed), TOKENIZER, to, tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_the_tokenizer_of_another_model_is_refused(tmp_path, to):
    with pytest.raises(ValueError, match="the tokenizer has 257 tokens, the model 319"):
        export(lively(), BPETokenizer([]), to, tmp_path / "hf")


# ---------------------------------------------------------------- tokenizers

@pytest.fixture(scope="module", params=["gpt2", "gpt4", "whole"])
def tokenizers(request, tmp_path_factory):
    pattern = {"gpt2": TOKENIZER.pattern, "gpt4": GPT4_PATTERN, "whole": None}[request.param]
    ours, folder = small_tokenizer(pattern), tmp_path_factory.mktemp("tokenizer") / "hf"
    export(GPT(dataclasses.replace(lively().config, vocab_size=ours.vocab_size)), ours, "hf", folder)
    return ours, transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", [*HARD, f"{NAMES[0]} Who's there?{END_OF_TEXT}", "a , b . I 'm"])
def test_auto_tokenizer_gives_the_same_ids_for_hard_texts(tokenizers, text):
    ours, theirs = tokenizers
    assert theirs(text)["input_ids"] == ours.encode(text, allowed_special="all")
    assert theirs.decode(theirs(text)["input_ids"]) == text


@settings(max_examples=300, deadline=None)
@given(text=TEXTS | MARKED | st.text(st.sampled_from("a .,'sn"), max_size=30))
def test_auto_tokenizer_gives_the_same_ids(tokenizers, text):
    ours, theirs = tokenizers
    ids = theirs(text)["input_ids"]
    assert ids == ours.encode(text, allowed_special="all")
    assert theirs.decode(ids) == text


def test_auto_tokenizer_knows_the_ends_the_size_and_the_inputs(tokenizers):
    ours, theirs = tokenizers
    assert len(theirs) == ours.vocab_size and theirs.model_max_length == SHAPE["block_size"]
    assert theirs.bos_token_id == theirs.eos_token_id == ours.end_of_text
    assert set(theirs("a")) == {"input_ids", "attention_mask"}
    said = json.loads((Path(theirs.name_or_path) / "tokenizer_config.json").read_text())
    assert said["model_input_names"] == ["input_ids", "attention_mask"]  # version 4 would have a third one


def test_characters_go_there_and_come_back(tmp_path):
    ours = CharTokenizer.train("To be,\nor not 한")
    export(GPT(dataclasses.replace(PRESETS["tiny"], vocab_size=ours.vocab_size)), ours, "hf", tmp_path / "hf")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in ("", "\n", "not to be", "한 or  ,\n\n"):
        assert theirs(text)["input_ids"] == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    assert theirs(f"o{END_OF_TEXT}")["input_ids"] == [*ours.encode("o"), ours.end_of_text]
    with pytest.raises(Exception, match="WordLevel error"):
        theirs("z")
    assert from_huggingface(tmp_path / "hf")[1].hash == ours.hash


# ---------------------------------------------------------------- models from there

@pytest.fixture(scope="module")
def foreign():
    """A GPT-2 such as transformers starts with, every parameter drawn."""
    torch.manual_seed(1)
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=TOKENIZER.vocab_size, n_positions=24, n_embd=32, n_layer=2, n_head=4)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.1)
    return theirs


def compare(folder, theirs, **tolerance):
    ours, _ = from_huggingface(folder)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(some_ids()), theirs(some_ids()).logits, **(tolerance or NEAR))
    return ours


def test_a_model_of_transformers_gives_its_logits_here(foreign, tmp_path):
    foreign.save_pretrained(tmp_path)
    ours, tokenizer = from_huggingface(tmp_path)
    assert tokenizer is None and ours.config.dropout == 0.1 and ours.config.block_size == 24
    compare(tmp_path, foreign)


def test_key_names_as_in_the_published_file(foreign, tmp_path):
    """GPT-2's own file has no prefix, and the masks in it."""
    foreign.transformer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert "h.0.attn.c_attn.weight" in weights
    masks = {f"h.{i}.attn.bias": torch.ones(24, 24).tril()[None, None] for i in range(2)}
    save_file(weights | masks | {"h.0.attn.masked_bias": torch.tensor(-1e4)}, tmp_path / "model.safetensors")
    compare(tmp_path, foreign)


def test_several_files_and_half_precision(foreign, tmp_path):
    foreign.save_pretrained(tmp_path / "parts", max_shard_size="40KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    compare(tmp_path / "parts", foreign)
    half = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "parts", dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    ours = compare(tmp_path / "half", half.float().eval())
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}


def test_an_untied_model_gets_an_output_bias_of_zero(tmp_path):
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=TOKENIZER.vocab_size, n_positions=24, n_embd=32, n_layer=1, n_head=2, tie_word_embeddings=False)).eval()
    theirs.save_pretrained(tmp_path)
    ours = compare(tmp_path, theirs)
    assert not ours.config.tied and not ours.output.bias.any()


def test_their_own_kind_of_tokenizer_is_read(foreign, tmp_path):
    """GPT2Tokenizer: the bytes in GPT-2's order, and the pattern within ByteLevel."""
    vocabulary = json.loads((write_hub(foreign, tmp_path) / "tokenizer.json").read_text())["model"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = printable + [byte for byte in range(256) if byte not in printable]
    spelled = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    tokens = [spelled[byte] for byte in order] + spelled[256:-3] + [END_OF_TEXT]
    theirs = transformers.GPT2Tokenizer({token: i for i, token in enumerate(tokens)},
                                        [tuple(merge) for merge in vocabulary["merges"]])
    theirs.save_pretrained(tmp_path)
    _, ours = from_huggingface(tmp_path)
    assert ours.byte_order == bytes(order) and ours.pattern_name == "gpt2" and ours.end_of_text == len(tokens) - 1
    for text in [*HARD, f"one{END_OF_TEXT}two"]:
        assert ours.encode(text, allowed_special="all") == theirs(text)["input_ids"]


def write_hub(theirs, folder):
    """A whole folder of transformers', with our tokenizer."""
    export(lively(n_layer=1), TOKENIZER, "hf", folder, overwrite=True)
    theirs.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("field", "value", "message"), [
    ("model_type", "gpt_neo", "the model is a gpt_neo; only a gpt2 can be read"),
    ("activation_function", "gelu", "activation_function='gelu', .* 'gelu_new' or"),
    ("n_inner", 64, "n_inner=64, .* None or 128"),
    ("layer_norm_epsilon", 1e-6, "layer_norm_epsilon=1e-06"),
    ("scale_attn_weights", False, "scale_attn_weights=False"),
    ("scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx=True"),
    ("add_cross_attention", True, "add_cross_attention=True"),
    ("n_head", 5, "n_embd=32 does not split into n_head=5"),
    ("n_layer", 1, "h.1.attn.c_attn.bias is no weight of a GPT2LMHeadModel"),
    ("n_layer", 3, "h.2.attn.c_attn.bias is missing"),
    ("n_positions", 25, r"wpe.weight has the shape \(24, 32\), and config.json says \(25, 32\)"),
    ("tie_word_embeddings", False, "lm_head.weight is missing"),
])
def test_what_our_gpt_cannot_be_is_refused(foreign, tmp_path, field, value, message):
    foreign.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {field: value}))
    with pytest.raises(ValueError, match=message):
        from_huggingface(tmp_path)


def test_pickled_weights_are_refused(foreign, tmp_path):
    foreign.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pickled weights only, and to open them is to run .*save_pretrained"):
        from_huggingface(tmp_path)


def test_damaged_folders_are_named(foreign, tmp_path):
    with pytest.raises(ValueError, match=r"holds no model in Hugging Face's format: it has no config\.json"):
        from_huggingface(tmp_path)
    foreign.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    other = weights | {"lm_head.weight": weights["transformer.wte.weight"] + 1}
    save_file(other, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"the output layer differs from the embedding, though config\.json ties them"):
        from_huggingface(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"model.safetensors is no whole safetensors file"):
        from_huggingface(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no model\.safetensors"):
        from_huggingface(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        from_huggingface(tmp_path)


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.update(normalizer={"type": "NFC"}), "its normalizer, NFC, changes the text"),
    (lambda t: t.update(post_processor={"type": "TemplateProcessing", "special_tokens": {"x": {}}}), "may add tokens"),
    (lambda t: t["model"].update(type="Unigram"), "its model is Unigram"),
    (lambda t: t["model"].update(dropout=0.1), "its model has dropout=0.1"),
    (lambda t: t["model"].update(ignore_merges=True), "its model has ignore_merges=True"),
    (lambda t: t["added_tokens"][0].update(lstrip=True), "takes in what stands beside it"),
    (lambda t: t["model"]["merges"].pop(), "its merges do not make its tokens one after the other"),
    (lambda t: t["model"]["vocab"].pop("a"), "its ids have a hole"),
    (lambda t: t["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), "without a space put before the text"),
    (lambda t: t["pre_tokenizer"]["pretokenizers"][1].update(use_regex=True), "cuts in more than one way"),
    (lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "cuts in more than one way"),
    (lambda t: t.update(pre_tokenizer={"type": "Whitespace"}), "is not a pattern and then ByteLevel"),
    (lambda t: t.pop("model"), "is no tokenizer.json that can be read here"),
    (lambda t: t["model"].update(type="WordLevel"), "its tokens are words, not characters"),
])
def test_tokenizers_that_cut_in_other_ways_are_refused(tmp_path, change, message):
    export(lively(n_layer=1), TOKENIZER, "hf", tmp_path / "hf")
    path = tmp_path / "hf" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        from_huggingface(tmp_path / "hf")
    path.unlink()
    assert from_huggingface(tmp_path / "hf")[1] is None


def test_settings_changed_by_hand_are_believed_before_what_the_export_noted(tmp_path):
    export(lively(dropout=0.1), TOKENIZER, "hf", tmp_path / "hf")
    shutil.copytree(tmp_path / "hf", tmp_path / "changed")
    path = tmp_path / "changed" / "config.json"
    path.write_text(path.read_text().replace('"resid_pdrop": 0.1', '"resid_pdrop": 0.3'))
    assert from_huggingface(tmp_path / "changed")[0].config.dropout == 0.3
    path.write_text(path.read_text().replace('"init": "scaled"', '"rotary": true'))
    assert from_huggingface(tmp_path / "changed")[0].config.init == "scaled"
