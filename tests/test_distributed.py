"""distributed: two real processes under torchrun train as one does, stop together, and end together when one is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from gptcore import playhouse
from gptcore.__main__ import main
from gptcore.checkpoint import load_checkpoint
from gptcore.distributed import Processes

ROOT = Path(__file__).parents[1]
SMALL = ["--tokenizer", "bpe:300", "--preset", "tiny", "--n-layer", "1", "--n-embd", "16", "--block-size", "32", "--steps",
         "120", "--eval-every", "20", "--eval-windows", "8", "--batch-size", "2", "--accumulation", "4"]


def torchrun(*arguments: object, cwd: Path) -> subprocess.Popen:
    """Two processes of one thread each; --standalone takes a free port."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GPTCORE_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen([*launcher, *map(str, arguments)], cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def ended(process: subprocess.Popen) -> tuple[str, str]:
    """What the processes said; they must not hang."""
    try:
        return process.communicate(timeout=300)  # of a machine that does much else at the time
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its processes, too
        raise


def assert_close_logs(one: Path, other: Path, rtol: float = 1e-5) -> None:
    """Rounding differs, since sums are taken in another order."""
    a, b = (pd.read_csv(folder / "log.csv").drop(columns="tokens_per_second") for folder in (one, other))
    pd.testing.assert_frame_equal(a, b, rtol=rtol, atol=0, check_exact=False)
    assert len(a) > 3


def test_two_processes_train_as_one(tmp_path):
    """The checks of several_processes.py, and what they leave behind."""
    process = torchrun(ROOT / "tests" / "several_processes.py", "check", tmp_path, cwd=tmp_path)
    said, shown = ended(process)
    assert process.returncode == 0, shown
    assert sorted(re.findall(r"process (\d) is content", said)) == ["0", "1"]
    assert_close_logs(tmp_path / "one", tmp_path / "two")
    for name in ("last.safetensors", "best.safetensors"):
        whole, stopped = ((tmp_path / run / name).read_bytes() for run in ("whole", "stopped"))
        assert whole == stopped, f"{name} differs after a stop"
    assert int(pd.read_csv(tmp_path / "fp16" / "log.csv")["skipped"].iloc[-1]) > 0
    for run in ("two", "stopped"):
        files = {path.name for path in (tmp_path / run).iterdir()}
        assert files == {"config.json", "log.csv", "last.safetensors", "best.safetensors"}


def test_ctrl_c_saves_and_a_killed_process_ends_the_run_which_then_goes_on_alone(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    for seed in range(12):
        (tmp_path / "texts" / f"{seed:02}.txt").write_text(playhouse.write(seed))
    last, log = tmp_path / "run" / "last.safetensors", tmp_path / "run" / "log.csv"

    process = torchrun("-m", "gptcore", "train", "--corpus", "texts", "--out", "run", *SMALL, cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, shown = ended(process)
    stop = re.findall(r"stopped by .* after step (\d+) of 120, and saved\. .*--resume run", shown)
    assert len(stop) == 1 and int(stop[0]) == load_checkpoint(last).state.step < 120, shown
    assert said.count("2 processes") == 1 and process.returncode != 0

    rows = log.read_text().count("\n") + 1
    process = torchrun(ROOT / "tests" / "several_processes.py", rows, log, "train", "--resume", "run", cwd=tmp_path)
    _, shown = ended(process)
    assert process.returncode != 0
    assert "error: process 0 of 2 lost another one, which was killed" in shown and "--resume run" in shown, shown
    assert int(stop[0]) < load_checkpoint(last).state.step < 120

    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", "run", "--quiet", "--no-compile", "--recompute"]) == 0
    assert main(["train", "--corpus", "texts", "--out", "alone", "--quiet", *SMALL]) == 0
    assert_close_logs(tmp_path / "run", tmp_path / "alone", rtol=1e-4)  # rounding grows over twenty times as many steps
    assert not list(tmp_path.glob("run/*.tmp*"))


def test_what_several_processes_cannot_do_is_refused(tmp_path, monkeypatch, capsys):
    two = Processes(rank=1, count=2)
    for name in ("cuda:1", "mps"):
        with pytest.raises(ValueError, match="one device for 2 processes; use cpu"):
            two.choose_device(name, "auto")
    assert two.choose_device("cpu", "auto").precision == "fp32"
    with pytest.raises(ValueError, match=r"accumulation=5 .* over 2 processes: set --accumulation 6"):
        two.refuse_uneven(5)
    two.refuse_uneven(6)
    for name, value in {"TORCHELASTIC_RUN_ID": "a test", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.started() == Processes(0, 2)
    assert main(["evaluate", "nowhere"]) == 1 and "only train shares" in capsys.readouterr().err


@pytest.mark.parametrize("count, late", [(1, "late\n"), (2, "")])
def test_one_of_several_processes_ends_at_once_with_all_said(count, late):
    """Nothing is taken down behind its last line, where gloo's threads now and then abort a whole run."""
    program = ("import atexit; from gptcore.__main__ import leave; atexit.register(print, 'late'); "
               "print('said'); leave(3)")
    together = {"TORCHELASTIC_RUN_ID": "1", "RANK": "1", "WORLD_SIZE": "2"} if count > 1 else {}
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)} | together,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, f"said\n{late}")
