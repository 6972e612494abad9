"""resume: killed runs end as if never killed, and whatever cannot go on exactly is refused with the way out."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gptcore.checkpoint import State, load_checkpoint, save_checkpoint
from gptcore.device import Device
from gptcore.gpt import GPT, GPTConfig
from gptcore.runs import RunFolder
from gptcore.schedule import OPTIMIZERS
from gptcore.training import TrainConfig, fingerprint, make_optimizers, train

ROOT = Path(__file__).parent.parent
CONFIG = TrainConfig(steps=4, batch_size=3, learning_rate=0.01, schedule="constant", eval_every=2, eval_windows=4)


def new_model(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**({"vocab_size": 9, "block_size": 6, "n_layer": 1, "n_head": 2, "n_embd": 8, "dropout": 0.3}
                            | changes)))


def go(folder, config=CONFIG, model=None, seed=0, **options) -> State:
    rng = np.random.default_rng(seed)
    documents = [rng.integers(0, 9, n) for n in rng.integers(2, 20, 12)]
    cpu = Device(torch.device("cpu"), None, "a test")
    model = model or new_model()
    return train(model, documents[:8], documents[8:], config, folder, device=cpu, progress=False, **options)


def log(folder) -> list[dict]:
    """The rows without their only column that may differ."""
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["tokens_per_second"]
    return rows


def assert_same_run(one, other) -> None:
    assert log(one) == log(other)
    for name in ("last.safetensors", "best.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), f"{name} differs in {other.name}"
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}, "something was left behind"


# Kills


def killed_runs(mode: str, folder: Path) -> str:
    command = [sys.executable, str(ROOT / "tests" / "killed_runs.py"), mode, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["random", "operations"])
def test_killed_and_resumed_is_never_killed(tmp_path, mode):
    said = killed_runs(mode, tmp_path)
    assert int(re.match(r"(\d+) kills", said)[1]) >= {"random": 20, "operations": 50}[mode]
    whole, *others = sorted(tmp_path.iterdir(), key=lambda path: path.name != "whole")
    steps = [int(row["step"]) for row in log(whole)]
    assert steps == [0, 2, 4, 6, 7] and len({row["learning_rate"] for row in log(whole)}) > 2  # the plateau was met
    losses = [float(row["val_loss"]) for row in log(whole)]
    assert 0 < losses.index(min(losses)) < len(losses) - 1  # the best weights are neither the first nor the last
    for other in others:
        assert_same_run(whole, other)


def test_only_temporary_files_are_swept(tmp_path):
    for name in (".last.1a2b3c4d.tmp.safetensors", ".tmpypS2FO", "my.tmp_notes.txt", ".hidden", "log.csv"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).sweep()
    assert {path.name for path in tmp_path.iterdir()} == {"my.tmp_notes.txt", ".hidden", "log.csv"}


def test_a_full_disk_is_said_and_harms_nothing(tmp_path):
    said = killed_runs("full", tmp_path).splitlines()
    whole, *others = sorted(tmp_path.iterdir(), key=lambda path: path.name != "whole")
    assert len(said) == len(others) == 10
    for line in said:
        assert re.search(r"could not save into .*full-\d+ \(.*File too large.*make room, then python -m gptcore", line)
    for other in others:
        assert_same_run(whole, other)


# What a checkpoint holds


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_holds_weights_moments_and_random_state(tmp_path, optimizer):
    config = TrainConfig(steps=3, optimizer=optimizer)
    model = new_model()
    optimizers = make_optimizers(model, config)
    for _ in range(3):
        model(torch.tensor([[1, 2]])).square().sum().backward()
        for each in optimizers:
            each.step()
    state = State(step=3, best=1 / 3, loss_sum=0.1 + 0.2, scaler={"scale": 2.0**16})
    save_checkpoint(tmp_path / "c.safetensors", model, optimizers, state, {"train": {"steps": 3}})
    drawn = torch.rand(4)
    other = new_model()
    restored = make_optimizers(other, config)
    checkpoint = load_checkpoint(tmp_path / "c.safetensors")
    checkpoint.restore(other, restored)
    assert checkpoint.state == state and checkpoint.settings == {"train": {"steps": 3}}
    assert torch.equal(drawn, torch.rand(4))
    for ours, theirs in zip(optimizers, restored, strict=True):
        ours, theirs = ours.state_dict()["state"], theirs.state_dict()["state"]  # torch's own view of its state
        assert len(ours) == len(theirs) > 0
        for index, slots in ours.items():
            assert slots.keys() == theirs[index].keys()
            assert all(torch.equal(slots[name], theirs[index][name]) for name in slots)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))
    assert not (tmp_path / "c.safetensors").read_bytes().count(b"pickle")


def test_a_state_before_any_evaluation_survives_json(tmp_path):
    model = new_model()
    save_checkpoint(tmp_path / "c.safetensors", model, [torch.optim.AdamW(model.parameters())], State(), {})
    assert load_checkpoint(tmp_path / "c.safetensors").state == State() and State().best == math.inf


def damaged(data: bytes) -> dict[str, bytes]:
    return {"cut": data[:-10], "half": data[: len(data) // 2], "empty": b"", "text": b"step,loss\n" * 99,
            "longer": data + b"\0", "other version": data.replace(b'\\"tokens\\"', b'\\"letter\\"'),
            "broken JSON": data.replace(b'{\\"state\\"', b'!\\"state\\"')}


def test_a_damaged_checkpoint_is_refused_and_left_alone(tmp_path):
    go(tmp_path)
    last = tmp_path / "last.safetensors"
    for name, data in damaged(last.read_bytes()).items():
        last.write_bytes(data)
        files = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(ValueError, match=r"last\.safetensors is no whole checkpoint.*best\.safetensors") as refusal:
            go(tmp_path, resume=True)
        assert files == {path: path.read_bytes() for path in tmp_path.iterdir()}, name
        assert "tmp" not in str(refusal.value).replace(str(tmp_path), "")
    save_file({"weight": torch.zeros(2)}, last)
    with pytest.raises(ValueError, match="no whole checkpoint"):
        go(tmp_path, resume=True)


# What may change, and what not


@pytest.mark.parametrize(
    "change, named",
    [
        ({"config": replace(CONFIG, learning_rate=0.5)}, ["train learning_rate was 0.01 and is now 0.5"]),
        ({"config": replace(CONFIG, seed=7, clip=0.5)}, ["train clip was 1.0 and is now 0.5", "train seed"]),
        ({"config": replace(CONFIG, betas=(0.8, 0.9))}, ["train betas was [0.9, 0.99] and is now [0.8, 0.9]"]),
        ({"config": replace(CONFIG, steps=3)}, ["train steps was 4 and is now 3"]),
        ({"config": replace(CONFIG, schedule="cosine", steps=8)}, ["train schedule", "train steps was 4 and is now 8"]),
        ({"model": new_model(dropout=0.0)}, ["model dropout was 0.3 and is now 0.0"]),
        ({"model": new_model(n_embd=16)}, ["model n_embd was 8 and is now 16"]),
        ({"seed": 5}, ["texts sha256"]),
    ],
)
def test_a_changed_run_is_refused_naming_every_difference(tmp_path, change, named):
    go(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="goes on only as it began") as refusal:
        go(tmp_path, resume=True, **change)
    assert all(name in str(refusal.value) for name in named)
    assert str(refusal.value).count(" was ") == len(named)
    assert files == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_fingerprint_knows_every_id_the_order_and_the_split():
    a, b, c = np.array([1, 2, 3]), np.array([1, 2, 4]), np.array([1, 2])
    sets = [([a], [b]), ([b], [a]), ([a], [a]), ([a, b], []), ([c, np.array([3, 1, 2, 4])], []), ([np.append(a, b)], [])]
    assert len({fingerprint(*each) for each in sets}) == len(sets)
    assert fingerprint([a]) == fingerprint([a.astype(np.uint16)])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_more_steps_go_on_as_one_long_run_unless_under_a_cosine(tmp_path, optimizer):
    short, long = replace(CONFIG, optimizer=optimizer), replace(CONFIG, optimizer=optimizer, steps=8)
    go(tmp_path / "long", long)
    go(tmp_path / "grown", short)
    assert go(tmp_path / "grown", long, resume=True).step == 8
    assert_same_run(tmp_path / "long", tmp_path / "grown")
    assert json.loads((tmp_path / "grown" / "config.json").read_text())["train"]["steps"] == 8

    go(tmp_path / "cosine", replace(CONFIG, schedule="cosine"))
    with pytest.raises(ValueError, match="train steps was 4 and is now 8"):
        go(tmp_path / "cosine", replace(CONFIG, schedule="cosine", steps=8), resume=True)


def test_resuming_a_finished_run_gives_back_its_weights(tmp_path):
    trained, other = new_model(), new_model()
    state = go(tmp_path, model=trained)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert go(tmp_path, model=other, resume=True) == state
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), other.parameters()))
    assert files == {path: path.read_bytes() for path in tmp_path.iterdir()}


# Folders


def test_a_folder_with_a_run_is_not_overwritten_unasked(tmp_path):
    folder = tmp_path / "my run"
    go(folder)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match=r"already holds a run .*--resume '.*my run'.*overwrite=True"):
        go(folder)
    assert files == {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "last.safetensors").unlink()  # the best weights and the log are worth as much
    with pytest.raises(FileExistsError, match=r"\(best.safetensors, log.csv\)"):
        go(folder)
    (folder / "tokenizer.json").write_text("not ours")
    go(folder, overwrite=True)
    assert (folder / "tokenizer.json").read_text() == "not ours"
    (folder / "tokenizer.json").unlink()
    go(tmp_path / "new")
    assert_same_run(tmp_path / "new", folder)


def test_resume_without_anything_saved_begins(tmp_path):
    go(tmp_path / "a")
    assert go(tmp_path / "b", resume=True).step == 4
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_resume_does_not_begin_over_a_run_that_lost_its_checkpoint(tmp_path):
    go(tmp_path)
    (tmp_path / "last.safetensors").unlink()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileNotFoundError, match=r"is missing, though log\.csv tells of a run"):
        go(tmp_path, resume=True)
    assert files == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_the_log_is_cut_to_the_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    folder.empty(overwrite=False)
    folder.append(0, 0, math.nan, 1 / 3, math.nan, math.nan, math.nan, 0, math.nan)
    folder.append(100, 7, 0.1 + 0.2, 1e-300, 2.0, 1.0, 1.0, 3, 1.0)
    folder.append(200, 9, 1.0, 1.0, 1.0, 1.0, 1.0, 3, 1.0)
    with pytest.raises(ValueError, match="shorter"):    # a number is missing
        folder.append(300, 9, 1.0, 1.0, 1.0, 1.0, 1.0, 3)
    with open(folder.log, "a") as file:
        file.write("10")  # torn: 1000 was meant, or 100
    folder.cut_log(100)
    header, *rows = folder.log.read_text().splitlines()
    assert header.startswith("step,tokens,train_loss") and rows == ["0,0,,0.3333333333333333,,,,0,",
                                                                    "100,7,0.30000000000000004,1e-300,2.0,1.0,1.0,3,1.0"]
    folder.log.unlink()
    folder.cut_log(100)
    assert folder.log.read_text().splitlines() == [header]
    folder.log.write_text("step,tokens,tokens_per_second\n0,0,\n50,5,9.0\n")  # of a version with fewer columns
    folder.cut_log(100)
    folder.append(60, 6, 1.0, 1.0, 1.0, 1.0, 1.0, 0, 8.0)
    assert folder.log.read_text().splitlines() == [header, "0,0,,,,,,,", "50,5,,,,,,,9.0", "60,6,1.0,1.0,1.0,1.0,1.0,0,8.0"]
