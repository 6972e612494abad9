"""Monitor: a log is read while it is written, a run that goes on is never taken for dead, and the figure follows."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from nbformat import v4

from gptcore import monitor, playhouse, plots
from gptcore.__main__ import main
from gptcore.checkpoint import State, load_checkpoint, save_checkpoint
from gptcore.monitor import Units, look, looks, read_log
from gptcore.runs import RunFolder

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GPTCORE_OFFLINE": "1"}
SMALL = ["--tokenizer", "bpe:300", "--preset", "tiny", "--n-layer", "1", "--n-embd", "16", "--block-size", "64",
         "--eval-windows", "8", "--batch-size", "4", "--quiet"]
BEGAN = 1_000_000.0  # when the settings of the runs below were written


def run_folder(folder, rows, every=100, steps=1000, seconds=600.0, speed=10.0):
    """A fresh run with that many rows, `every` steps apart: each takes `seconds`, 1,000 / `speed` of them training."""
    run = RunFolder(folder)
    run.empty(overwrite=False)
    run.write_config({"train": {"steps": steps}})
    for row in range(rows):
        first = math.nan if row == 0 else 1.0
        run.append(row * every, row * 1000, 2.5 * first, 2.0 / (row + 1), 0.1, 1e-3 * first, 0.5 * first, 0,
                   speed * first)
    for file in (run.config, run.log):
        os.utime(file, (BEGAN, BEGAN))
    os.utime(run.log, (BEGAN, last_sign := BEGAN + seconds * max(0, rows - 1)))
    return run, last_sign


def checkpoint(run, step, when):
    save_checkpoint(run.last, torch.nn.Linear(1, 1), [], State(step=step), {})
    os.utime(run.last, (when, when))


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    assert plt.get_fignums() == []


def test_a_log_reads_at_every_byte_of_its_writing(tmp_path):
    run, _ = run_folder(tmp_path / "run", 4)
    whole, path = run.log.read_bytes(), tmp_path / "log.csv"
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        rows = max(0, whole[:length].count(b"\n") - 1)
        assert list(read_log(path)["step"]) == [0, 100, 200, 300][:rows]
    assert list(read_log(path)["val_loss"]) == [2, 1, 2 / 3, 0.5] and math.isnan(read_log(path)["train_loss"][0])


def test_what_is_no_log_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no training has begun"):
        read_log(tmp_path / "log.csv")
    for text in ("a,b\n1,2\n", "step,val_loss\nten,1\n", "step,val_loss\n1,2\n1,2,3\n"):
        (tmp_path / "log.csv").write_text(text)
        with pytest.raises(ValueError, match="is no log of a training"):
            read_log(tmp_path / "log.csv")


def test_a_run_that_evaluates_most_of_the_time_is_not_taken_for_dead(tmp_path):
    """Of ten minutes for a row 100 seconds are training, as the log says; the clock knows the rest."""
    _, last = run_folder(tmp_path, 3)
    seen = look(tmp_path, now=last + 2000)
    assert (seen.state, seen.step, seen.steps, seen.age) == ("training", 200, 1000, 2000)
    assert seen.seconds_per_step == pytest.approx(6.0) and seen.prospect == "80 min left"
    seen = look(tmp_path, now=last + 2500)
    assert seen.state == "quiet" and not seen.over and "no row for 42 min" in seen.prospect


def test_a_resumed_run_has_the_pace_of_its_training(tmp_path):
    """Its settings were written a moment ago, so the clock says little."""
    run, last = run_folder(tmp_path, 3)
    os.utime(run.config, (last - 1, last - 1))
    assert look(tmp_path, now=last).seconds_per_step == pytest.approx(1.0)
    assert look(tmp_path, now=last + 390).state == "training" and look(tmp_path, now=last + 410).state == "quiet"


def test_a_quick_run_has_a_minute_and_a_clock_that_runs_behind_does_no_harm(tmp_path):
    _, last = run_folder(tmp_path, 3, seconds=0.5, speed=4000.0)
    assert [look(tmp_path, now=last + age).state for age in (-100, 59, 61)] == ["training", "training", "quiet"]
    assert look(tmp_path, now=last - 100).age == 0


@pytest.mark.parametrize("rows, state, prospect", [(0, "waiting", "no row yet"), (1, "training", "no pace yet"),
                                                   (11, "ended", "ended")])
def test_beginning_and_end_do_not_depend_on_the_clock(tmp_path, rows, state, prospect):
    _, last = run_folder(tmp_path, rows)
    seen = look(tmp_path, now=last + 1e6)
    assert (seen.state, seen.prospect, seen.over) == (state, prospect, state == "ended")


def test_a_checkpoint_later_than_the_last_row_says_stopped_until_the_run_goes_on(tmp_path):
    run, last = run_folder(tmp_path, 3)
    checkpoint(run, 200, last + 1)
    assert look(tmp_path, now=last + 9).state == "training"
    checkpoint(run, 250, last + 300)
    assert look(tmp_path, now=last + 301).state == "stopped"
    os.utime(run.config, (last + 900, last + 900))  # resumed
    assert look(tmp_path, now=last + 901).state == "training"
    run.last.write_bytes(b"damaged")
    assert look(tmp_path, now=last + 901).state == "training"


def test_a_log_without_its_settings_is_that_of_a_run_that_has_ended(tmp_path):
    run, _ = run_folder(tmp_path, 3)
    run.config.unlink()
    seen = look(tmp_path)
    assert (seen.state, seen.steps) == ("ended", 200)


def test_the_figure_holds_every_number_of_the_log(tmp_path):
    run, last = run_folder(tmp_path, 4)
    units = Units(tmp_path)
    assert units.bytes_per_token is None  # made by hand: no text is known
    units.bytes_per_token, units.floor = 4.0, 0.1
    figure = monitor.figure(look(tmp_path, now=last), units)
    scale, log = 1 / math.log(2) / 4, read_log(run.log)
    loss, *small = figure.axes
    training, validation, floor = loss.lines
    np.testing.assert_allclose(validation.get_ydata(), log["val_loss"] * scale)
    np.testing.assert_allclose(training.get_ydata(), [2.5 * scale] * 3)
    assert set(floor.get_ydata()) == {0.1} and loss.get_xlim() == (0, 1000)
    shown = {axes.get_title(loc="left"): list(axes.lines[0].get_ydata()) for axes in small}
    assert shown == {"learning rate": [1e-3] * 3, "gradient norm": [0.5] * 3, "tokens per second": [10.0] * 3}
    best = 0.5 * scale
    assert figure.get_suptitle() == f"Step 300 of 1,000: {best:.3f} bits per byte, 80 % above the floor (70 min left)"
    assert units.line(look(tmp_path, now=last)) == (
        f"step 300 of 1,000, loss {best:.3f} bits per byte, in training {2.5 * scale:.3f}, rate 0.001, gradient norm 0.5, "
        "10 tokens/s, 70 min left")
    plt.close("all")


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_run_that_has_just_begun_is_drawn(tmp_path, rows):
    _, last = run_folder(tmp_path, rows)
    figure = monitor.figure(look(tmp_path, now=last), Units(tmp_path))
    plots.save(figure, tmp_path / "a.png")
    assert ("Waiting" in figure.get_suptitle()) == (rows == 0)
    if rows:
        assert "nan" not in Units(tmp_path).line(look(tmp_path, now=last))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    (folder / "texts").mkdir()
    for seed in range(12):
        (folder / "texts" / f"{seed:02}.txt").write_text(playhouse.write(seed))
    return folder


@pytest.fixture
def begin(texts):
    """Start a command of gptcore in the folder of the texts; what still runs at the end of the test is killed."""
    begun = []

    def command(*arguments, **options):
        begun.append(subprocess.Popen([sys.executable, "-m", "gptcore", *arguments], cwd=texts, env=ENVIRONMENT, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options))
        return begun[-1]

    yield command
    for process in begun:
        process.kill()
        process.communicate()


def training(name, steps):
    return ["train", "--corpus", "texts", "--out", name, *SMALL, "--steps", str(steps), "--eval-every", "20"]


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_a_training_is_followed_from_before_its_beginning_to_its_end(texts, begin, monkeypatch, capsys):
    """By one process while another trains: the figure in the folder, the lines on the console, the notebook's look."""
    monkeypatch.chdir(texts)
    process = begin(*training("whole", 200))
    assert main(["monitor", "whole", "--every", "0.05"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("waiting for the first row of") and not any("waiting" in line for line in said[1:])
    steps = [int(line.split()[1]) for line in said[1:]]
    assert steps == sorted(set(steps)) and steps[-1] == 200 and len(steps) > 2
    assert "bits per byte" in said[-1] and said[-1].endswith("ended") and said[-2].endswith("left")
    assert Path("whole/monitor.png").read_bytes().startswith(b"\x89PNG") and process.wait(60) == 0
    drawn = Path("whole/monitor.png").stat().st_mtime_ns
    assert main(["monitor", "whole", "--once"]) == 0 and Path("whole/monitor.png").stat().st_mtime_ns > drawn
    assert not list(Path("whole").glob(".*"))
    units = Units("whole")
    assert 0.5 < units.floor < 1.0 < units.bytes_per_token


def test_a_stopped_and_a_killed_run_are_seen_and_ctrl_c_ends_the_monitor_only(texts, begin):
    process = begin(*training("cut", 100_000))
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in the background may be deaf to Ctrl-C
    watcher = begin("monitor", "cut", "--every", "0.1", preexec_fn=listening)
    until((texts / "cut/monitor.png").exists)
    watcher.send_signal(signal.SIGINT)
    out, error = watcher.communicate(timeout=60)
    assert watcher.returncode == 0 and error == "" and "bits per byte" in out and process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    before, saved = look(texts / "cut"), load_checkpoint(texts / "cut/last.safetensors").state.step
    assert before.state == ("stopped" if saved > before.step else "training")  # equal, if Ctrl-C came with an evaluation
    process = begin("train", "--resume", "cut", "--quiet")
    until(lambda: look(texts / "cut").step > before.step)
    process.kill()
    *_, last = looks(texts / "cut", 0.01, process)
    assert last.state == "stopped" and look(texts / "cut").state == "training"  # who knows the process knows more
    assert look(texts / "cut", now=time.time() + 1e5).state == "quiet"


def test_in_a_notebook_the_figure_is_drawn_in_its_place_while_another_process_trains(texts):
    source = f"""
import os, subprocess, sys
os.environ.pop("GPTCORE_OFFLINE", None)
from gptcore import monitor, plots
drawn, real = [], plots.run_panels
plots.run_panels = lambda log, *rest: drawn.append(len(log)) or real(log, *rest)
process = subprocess.Popen([sys.executable, "-m", "gptcore", "train", "--corpus", "texts", "--out", "inside",
                            "--steps", "100", "--eval-every", "20", *{SMALL!r}], stdout=subprocess.DEVNULL)
monitor.watch("inside", every=0.05, process=process)
process.wait(), drawn[0], drawn[-1], drawn == sorted(drawn)
"""
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        NotebookClient(notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(texts)}}).execute()
    figures = [output for output in notebook.cells[0].outputs if output.output_type == "display_data"]
    assert len(figures) == 1 and "loss" in figures[0].metadata["image/png"]["alt"]
    assert notebook.cells[0].outputs[-1].data["text/plain"] == "(0, 0, 6, True)"


def test_a_run_that_fails_ends_the_watching(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    assert list(looks(tmp_path / "nothing", 0.01, process)) == [None] and process.wait() == 3


def test_a_finished_log_is_drawn_once(tmp_path, monkeypatch):
    run_folder(tmp_path, 11)
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    shown = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: shown.append(figure.get_suptitle()) or plt.close(figure))
    monitor.watch(tmp_path)
    assert len(shown) == 1 and "(ended)" in shown[0]


def test_the_settings_of_a_run_are_read_as_they_are_written(tmp_path):
    run, _ = run_folder(tmp_path, 2, steps=7)
    assert json.loads(run.config.read_text())["train"]["steps"] == look(tmp_path).steps == 7
    assert isinstance(look(tmp_path).log, pd.DataFrame)
