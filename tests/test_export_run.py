"""From a run folder to other programs by one command; and the folder of an export is whole, and nobody's files are lost."""
import json
import os
import shutil
import stat
import sys

import pytest
import torch
from exported import TOKENIZER, lively
from safetensors import SafetensorError

from gptcore import playhouse
from gptcore.__main__ import main
from gptcore.corpora import Corpus
from gptcore.experiment import Experiment, make_tokenizer
from gptcore.export import export, from_huggingface
from gptcore.export.folder import filling
from gptcore.gpt import PRESETS
from gptcore.tokenizer import BPETokenizer

SMALL = ["--corpus", "texts", "--n-layer", "1", "--block-size", "32", "--steps", "2", "--eval-every", "1",
         "--eval-windows", "4", "--batch-size", "2", "--quiet", "--device", "cpu"]
HF = {"README.md", "config.json", "export.json", "generation_config.json", "model.safetensors", "tokenizer.json",
      "tokenizer_config.json"}


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of texts; a run with the preset `exportable` and its own tokenizer, and one with another pattern."""
    folder = tmp_path_factory.mktemp("a place with spaces")
    (folder / "texts").mkdir()
    for seed in range(12):
        (folder / "texts" / f"{seed:02}.txt").write_text(playhouse.write(seed))
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="no pair is left"):
        patch.chdir(folder)
        assert main(["train", "--out", "mine", "--preset", "exportable", "--licence", "CC BY 4.0", *SMALL]) == 0
        assert main(["train", "--out", "other", "--preset", "tiny", "--tokenizer", "bpe:300", *SMALL]) == 0
    return folder


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    """A copy of it, to stand in."""
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def test_the_preset_comes_with_what_llama_cpp_knows(home):
    run = Experiment.open(home / "mine")
    assert run.tokenizer.pattern_name == "gpt2" and run.model().config.n_embd == 96
    preset = PRESETS["exportable"]
    assert preset.activation == "gelu" and preset.bias and preset.tied and preset.n_embd % 32 == 0
    assert Experiment.open(home / "other").tokenizer.pattern_name == "gpt4"


@pytest.mark.filterwarnings("ignore:no pair is left")
@pytest.mark.parametrize(("name", "pattern"), [("bpe:300", "gpt4"), ("bpe:300:gpt2", "gpt2"), ("bpe:300:gpt4", "gpt4"),
                                                ("bpe:300:none", "none")])
def test_a_pattern_is_named_behind_the_size(name, pattern):
    corpus = Corpus("one", "memory", ["It's the 1st of 2,000 words. " * 9], ["x"])
    made = make_tokenizer(name, corpus, progress=False)
    assert isinstance(made, BPETokenizer) and (made.pattern_name, made.vocab_size <= 300) == (pattern, True)


@pytest.mark.parametrize("name", ["bpe:300:gpt5", "bpe:300:", "bpe:gpt2", "bpe:300:gpt2:x", "gpt2"])
def test_a_pattern_that_is_unknown_is_refused(name):
    with pytest.raises(ValueError, match="bpe:4096:gpt2; patterns are gpt2, gpt4, none"):
        make_tokenizer(name, Corpus("one", "memory", ["text"], ["x"]))


def test_each_export_is_written_where_the_help_says(here, capsys):
    assert main(["export", "mine", "--to", "hf", "--licence", "MIT, all of it"]) == 0
    said = capsys.readouterr().out
    assert names(here / "mine/export/hf") == HF
    assert "model.safetensors  " in said and "how to open it: mine/export/hf/README.md" in said
    model, tokenizer = from_huggingface("mine/export/hf")
    run = Experiment.open("mine")
    assert tokenizer.hash == run.tokenizer.hash
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in run.model().state_dict().items())
    card = (here / "mine/export/hf/README.md").read_text()
    best = run.log()["val_loss"].min()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for fact in ("# mine", "texts (a folder)", "10 documents", run.corpus.validation_hash, f"{best:.4f} nats per token",
                 "MIT, all of it", f"{parameters:,} parameters"):
        assert fact in card, fact
    assert str(here) not in card
    assert main(["export", "mine", "--to", "tiktoken"]) == 0
    assert names(here / "mine/export/tiktoken") == {"README.md", "encoding.json", "export.json", "ranks.tiktoken"}
    assert "not stated" in (here / "mine/export/tiktoken/README.md").read_text()
    pytest.importorskip("gguf")
    for kind in ("f32", "q8_0", "f32"):  # side by side, and each replaced when it is made again
        assert main(["export", "mine", "--to", "gguf", "--type", kind, "--out", "new/place"]) == 0
    assert names(here / "new/place") == {"README.md", "export.json", "model-f32.gguf", "model-q8_0.gguf"}


def test_the_licence_of_the_texts_goes_with_the_model(here):
    Experiment.open("mine").export("hf")
    assert "texts       licence CC BY 4.0\n" in (here / "mine/export/hf/README.md").read_text(encoding="utf-8")


def test_files_are_as_open_to_others_as_any(here):
    old = os.umask(0o022)
    try:
        assert main(["export", "mine", "--to", "hf"]) == 0
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (here / "mine/export/hf").iterdir()} == {0o644}


@pytest.mark.parametrize(("arguments", "says"), [
    (["other", "--to", "gguf"], "--tokenizer bpe:2000:gpt2"),
    (["nowhere", "--to", "hf"], "is no run folder"),
    (["mine", "--to", "hf", "--type", "f16"], "type='f16' is for gguf; hf has one type only"),
    (["mine", "--to", "hf", "--out", "texts"], "texts holds what no export wrote, or what was changed since: 00.txt"),
    (["mine", "--to", "hf", "--out", "texts/00.txt/new"], "00.txt is a file, so no export can go into"),
])
def test_what_is_wrong_is_said_in_one_line_and_leaves_nothing(here, capsys, arguments, says):
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert main(["export", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and says in error and "Traceback" not in error
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
    assert not (here / "mine/export").exists() and not list(here.rglob("*.partial"))


def test_a_missing_package_is_named(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert main(["export", "mine", "--to", "hf"]) == 1
    assert capsys.readouterr().err == "error: this needs the package tokenizers: pip install tokenizers\n"
    assert not (here / "mine/export").exists()


# ---------------------------------------------------------------- the folder

def test_an_older_export_is_replaced_and_nothing_else(tmp_path):
    place = tmp_path / "hf"
    for model in (lively(), lively(n_layer=1), lively(n_layer=1)):
        export(model, TOKENIZER, "hf", place)
        assert from_huggingface(place)[0].config == model.config
    assert names(place) == HF and names(tmp_path) == {"hf"}
    (place / ".git").mkdir()  # a folder that is kept under version control
    export(lively(), TOKENIZER, "hf", place)


@pytest.mark.parametrize("mine", ["notes.txt", "README.md", "model.safetensors", "a folder"])
def test_what_was_added_or_changed_is_not_lost(tmp_path, mine):
    place = tmp_path / "hf"
    export(lively(), TOKENIZER, "hf", place)
    (place / mine).mkdir() if mine == "a folder" else (place / mine).write_text("by hand")
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    with pytest.raises(FileExistsError, match=f"changed since: {mine}. Choose another --out, or --overwrite"):
        export(lively(n_layer=1), TOKENIZER, "hf", place)
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == before
    export(lively(n_layer=1), TOKENIZER, "hf", place, overwrite=True)
    assert from_huggingface(place)[0].config.n_layer == 1 and names(place) == HF | {mine} and names(tmp_path) == {"hf"}
    if mine == "notes.txt":
        assert (place / mine).read_text() == "by hand"


def test_a_list_that_no_export_wrote_protects_nothing(tmp_path):
    (tmp_path / "export.json").write_text(json.dumps({"my": "own"}))
    with pytest.raises(FileExistsError, match=r"changed since: export\.json"):
        export(lively(), TOKENIZER, "hf", tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SafetensorError])
def test_what_goes_wrong_in_the_middle_leaves_the_folder_as_it_was(tmp_path, error):
    export(lively(), TOKENIZER, "hf", tmp_path / "hf")
    before = {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()}
    for place in ("hf", "new/place"):
        with pytest.raises(OSError if error is SafetensorError else error), filling(tmp_path / place) as temporary:
            (temporary / "config.json").write_text("half")
            raise error("No space left on device")
    assert {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()} == before and names(tmp_path) == {"hf"}


def test_what_a_killed_export_left_is_removed_by_the_next_one(tmp_path):
    (tmp_path / ".hf.0a1b2c3d.partial").mkdir()
    (tmp_path / ".hf.0a1b2c3d.partial" / "model.safetensors").write_text("half")
    (tmp_path / ".other.0a1b2c3d.partial").mkdir()
    export(lively(), TOKENIZER, "hf", tmp_path / "hf")
    assert names(tmp_path) == {"hf", ".other.0a1b2c3d.partial"}


def test_an_export_that_was_killed_while_it_moved_is_no_whole_one(tmp_path, monkeypatch):
    """Then the list is missing, and the next export asks before it replaces what is there."""
    moved, replace = [], os.replace

    def killed(source, target):
        if len(moved) == 2:
            raise SystemExit
        moved.append(target.name)
        replace(source, target)

    export(lively(), TOKENIZER, "hf", tmp_path / "hf")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("os.replace", killed)
        with filling(tmp_path / "hf") as temporary:
            for name in ("README.md", "config.json", "tokenizer.json"):
                (temporary / name).write_text("new")
    assert "export.json" not in names(tmp_path / "hf")
    with pytest.raises(FileExistsError):
        export(lively(), TOKENIZER, "hf", tmp_path / "hf")


def test_unknown_targets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'onnx' is unknown; export to one of hf, gguf, tiktoken"):
        export(lively(), TOKENIZER, "onnx", tmp_path / "x")
    assert not list(tmp_path.iterdir())
