"""Samples of a run: written at each evaluation, noticed by nothing, and there once, however often the run was killed."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gptcore import playhouse
from gptcore.__main__ import main
from gptcore.gpt import GPT, GPTConfig
from gptcore.samples import read_samples, write_samples
from gptcore.sampling import sample_text
from gptcore.tokenizer import CharTokenizer

ROOT = Path(__file__).parents[1]
TOKENIZER = CharTokenizer.train(["ab, \n\"c\""])
SMALL = ["--tokenizer", "bpe:300", "--preset", "tiny", "--n-layer", "1", "--n-embd", "16", "--block-size", "64",
         "--steps", "6", "--eval-every", "3", "--eval-windows", "8", "--batch-size", "4", "--dropout", "0.3", "--quiet"]


def model(seed=0):
    torch.manual_seed(seed)
    return GPT(GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=1, n_head=1, n_embd=8, dropout=0.5))


def test_a_sample_is_what_sample_draws_with_that_seed_and_reads_back_to_the_last_sign(tmp_path):
    prompts, path = ["", "a, \"b\"\n", "c"], tmp_path / "samples.csv"
    write_samples(path, 10, model(), TOKENIZER, prompts)
    rows = read_samples(path)
    assert [(row["step"], row["prompt"]) for row in rows] == [(10, prompt) for prompt in prompts]
    for row in rows:
        pieces = sample_text(model(), TOKENIZER, row["prompt"], 200, generator=torch.Generator().manual_seed(1))
        assert row["text"] == "".join(pieces) != ""


def test_the_rows_of_a_step_and_of_later_ones_make_room(tmp_path):
    path = tmp_path / "samples.csv"
    for step in (10, 20, 30):
        write_samples(path, step, model(step), TOKENIZER, ["a", "b"])
    before = read_samples(path)
    write_samples(path, 20, model(20), TOKENIZER, ["a", "b"])
    assert read_samples(path) == before[:4] and [path.name] == [each.name for each in tmp_path.iterdir()]


def test_neither_torch_nor_the_model_notices(tmp_path):
    torch.manual_seed(5)
    trained = model().train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    write_samples(tmp_path / "samples.csv", 1, trained, TOKENIZER, ["a"])
    assert torch.equal(torch.rand(3), expected) and all(module.training for module in trained.modules())


def test_what_is_no_table_of_samples_is_refused(tmp_path):
    path = tmp_path / "samples.csv"
    assert read_samples(path) == []
    for text in ("step,text\n1,a\n", "step,prompt,text\none,a,b\n", "step,prompt,text\n,\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is no table of samples"):
            read_samples(path)


def test_training_with_samples_is_training_without(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for seed in range(12):
        Path("texts", f"{seed:02}.txt").write_text(playhouse.write(seed))
    with_samples = ["--sample-prompt", "Ada: ", "--sample-prompt", ""]
    assert main(["train", "--corpus", "texts", "--out", "without", *SMALL]) == 0
    assert main(["train", "--corpus", "texts", "--out", "with", *SMALL, *with_samples]) == 0
    for name in ("last.safetensors", "best.safetensors"):
        assert Path("with", name).read_bytes() == Path("without", name).read_bytes()
    rows = read_samples("with/samples.csv")
    assert [(row["step"], row["prompt"]) for row in rows] == [(3, "Ada: "), (3, ""), (6, "Ada: "), (6, "")]
    before = Path("with/samples.csv").read_bytes()
    assert main(["train", "--resume", "with", "--quiet"]) == 0  # it had ended
    assert Path("with/samples.csv").read_bytes() == before and not Path("without/samples.csv").exists()
    assert main(["train", "--corpus", "texts", "--out", "with", "--overwrite", *SMALL]) == 0
    assert not Path("with/samples.csv").exists()  # they were of the run that was replaced


def test_a_prompt_that_cannot_be_encoded_is_refused_before_anything_is_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("one two three four five six seven " * 40)
    arguments = ["train", "--corpus", "text.txt", "--out", "run", *SMALL, "--tokenizer", "characters"]
    assert main(arguments) == 0
    before = {path.name: path.read_bytes() for path in Path("run").rglob("*.*") if path.is_file()}
    assert main([*arguments, "--overwrite", "--sample-prompt", "é"]) == 1 and "é" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in Path("run").rglob("*.*") if path.is_file()}


def test_killed_anywhere_and_resumed_the_samples_are_those_of_a_run_that_was_not(tmp_path):
    (tmp_path / "text.txt").write_text("ab\ncab bca acc cba\n" * 60)
    done = subprocess.run([sys.executable, str(ROOT / "tests/killed_samples.py"), str(tmp_path)], text=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 20
    whole, *others = sorted((path for path in tmp_path.iterdir() if path.is_dir()), key=lambda path: path.name != "whole")
    with open(whole / "samples.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "2", "4", "4"]
    for other in others:
        for name in ("samples.csv", "last.safetensors", "best.safetensors"):
            assert (other / name).read_bytes() == (whole / name).read_bytes(), f"{name} of {other.name}"
        assert {path.name for path in other.iterdir()} == {path.name for path in whole.iterdir()}
