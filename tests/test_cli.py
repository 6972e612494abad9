"""The command line as a person uses it, in a process of its own: train, resume, evaluate, sample, and what goes wrong."""
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gptcore import playhouse, plots
from gptcore.__main__ import main, parser
from gptcore.device import choose_device
from gptcore.evaluation import byte_nats
from gptcore.experiment import Experiment, report
from gptcore.export import to_tiktoken
from gptcore.ladder import counting_rungs, floor, gap_by_kind, ladder, worth_by_kind
from gptcore.tokenizer import GPT2_PATTERN, BPETokenizer

ROOT = Path(__file__).parents[1]
SMALL = ["--tokenizer", "bpe:300", "--preset", "tiny", "--n-layer", "1", "--n-embd", "16", "--block-size", "64",
         "--steps", "6", "--eval-every", "3", "--eval-windows", "8", "--batch-size", "4"]


def gptcore(*arguments, cwd, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GPTCORE_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "gptcore", *map(str, arguments)], cwd=cwd, env=environment, text=True,
                          capture_output=True, timeout=300, **options)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder of twelve scenes, and a run trained on it."""
    folder = tmp_path_factory.mktemp("a place with spaces")
    (folder / "texts").mkdir()
    for seed in range(12):
        (folder / "texts" / f"{seed:02}.txt").write_text(playhouse.write(seed))
    done = gptcore("train", "--corpus", "texts", "--out", "my run", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_train_leaves_all_that_is_needed(texts):
    names = {path.name for path in (texts / "my run").iterdir()}
    assert names == {"experiment.json", "config.json", "tokenizer.json", "log.csv", "last.safetensors", "best.safetensors",
                     "sample.txt", "figures", "data_card.json", "data_card.md"}
    assert [path.name for path in (texts / "my run/figures").iterdir()] == ["loss.png"]
    rows = list(csv.DictReader((texts / "my run" / "log.csv").open()))
    assert [row["step"] for row in rows] == ["0", "3", "6"]
    assert json.loads((texts / "my run" / "config.json").read_text())["model"]["n_embd"] == 16


def test_evaluate_prints_ladder_gap_sample_and_verdict(texts):
    done = gptcore("evaluate", "my run", "--quiet", cwd=texts)
    assert done.returncode == 0, done.stderr
    for word in ("uniform", "unigram", "bigram", "5-gram", "GPT", "floor", "% above the floor", *playhouse.KINDS, "sum",
                 "A sample", "line reader", "log.csv", "best.safetensors", "sha256"):
        assert word in done.stdout, word
    drawn = {path.name for path in (texts / "my run" / "figures").iterdir()}
    assert drawn == {"loss.png", "ladder.png", "gap.png"}
    assert str(texts) not in done.stdout


def test_the_report_prints_what_was_measured(texts, monkeypatch, tmp_path):
    """Every number of the report, computed once more by the functions that it should have called."""
    monkeypatch.chdir(texts)
    drawn, real = [], plots.loss_curves
    monkeypatch.setattr(plots, "loss_curves", lambda *arguments: drawn.append(arguments[1:]) or real(*arguments))
    opened, device = Experiment.open("my run"), choose_device("cpu")
    found, corpus = report(opened, figures=tmp_path, device=device, progress=False), opened.corpus
    ours = byte_nats(opened.model(), opened.validation_documents, opened.tokenizer)
    below = floor(corpus.validation)
    rows = ladder(counting_rungs(corpus.train, corpus.validation) | {"GPT": ours, "floor": [d.nats for d in below]})
    np.testing.assert_allclose(found.ladder.loc[rows.index], rows, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.gap.drop(columns="worth"), gap_by_kind(ours, below), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.gap["worth"], worth_by_kind(corpus.validation))
    predicted = sum(len(opened.tokenizer.encode(text)) + 1 for text in corpus.validation)
    assert drawn == [(pytest.approx(corpus.validation_bytes / predicted), pytest.approx(rows.loc["floor", "bits per byte"]))]
    for name, value in (("GPT", rows.loc["GPT", "bits per byte"]), ("sum", found.gap["floor"].sum())):
        assert re.search(rf"^{name} +(\S+)", str(found), re.MULTILINE)[1] == f"{value:.4f}"


def test_inspect_prints_what_goes_on_inside_and_draws_it(texts):
    done = gptcore("inspect", "my run", "--figures", "inside", cwd=texts)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("blocks.0.mlp.activation", "zeros", "dead", "always"))
    drawn = {path.name for path in (texts / "inside").iterdir()}
    assert drawn == {"loss.png", "activations.png", "gradients.png", "firing.png"}


def test_evaluate_on_other_text_has_no_floor(texts):
    (texts / "other.txt").write_text("It was a dark and stormy night, and the rain fell in torrents. " * 60)
    done = gptcore("train", "--corpus", "other.txt", "--out", "other", *SMALL, cwd=texts)
    assert done.returncode == 0, done.stderr
    done = gptcore("evaluate", "other", "--quiet", cwd=texts)
    assert done.returncode == 0, done.stderr
    assert "GPT" in done.stdout and "floor" not in done.stdout and "line reader" not in done.stdout
    assert not (texts / "other" / "figures" / "gap.png").exists()


def test_sample_is_the_same_for_the_same_seed_and_begins_with_the_prompt(texts):
    first, again, other = (gptcore("sample", "my run", "--prompt", "Ada: ", "--tokens", 30, "--seed", seed, cwd=texts).stdout
                           for seed in (1, 1, 2))
    assert first == again != other and first.startswith("Ada: ")


def test_interactive_sampling_answers_each_line_and_keeps_all_in_a_file(texts):
    done = gptcore("sample", "my run", "--interactive", "--tokens", 8, "--out", "said.txt", cwd=texts,
                   input="Ada: \nBen\n\nx\n")
    assert done.returncode == 0, done.stderr
    parts = done.stdout.split("> ")
    assert len(parts) == 4 and parts[1].startswith("Ada: ") and parts[2].startswith("Ben"), "the empty line ends it"
    assert (texts / "said.txt").read_bytes() == ("".join(parts[1:3])).encode()
    first = gptcore("sample", "my run", "--prompt", "Ada: ", "--tokens", 8, "--out", "once.txt", cwd=texts)
    assert first.stdout == (texts / "once.txt").read_text(encoding="utf-8") == parts[1]


def test_interactive_sampling_outlives_a_prompt_that_cannot_be_encoded(texts):
    done = gptcore("train", "--corpus", "texts", "--out", "letters", *SMALL, "--tokenizer", "characters", cwd=texts)
    assert done.returncode == 0, done.stderr
    done = gptcore("sample", "letters", "--interactive", "--tokens", 3, cwd=texts, input="é\nAda\n")
    assert done.returncode == 0 and "'é' (U+00E9)" in done.stderr and "> Ada" in done.stdout


def test_a_published_tokenizer_is_used_by_its_name(texts, monkeypatch, capsys):
    """Through tiktoken's own registry, into which a small encoding is put: its tables of GPT-2 lie on a server."""
    import tiktoken
    from tiktoken import registry
    small = BPETokenizer.train(playhouse.write(1), 300, pattern=GPT2_PATTERN, progress=False)
    monkeypatch.setitem(registry.ENCODINGS, "gpt2", to_tiktoken(small, "gpt2"))
    monkeypatch.chdir(texts)
    assert main(["train", "--corpus", "texts", "--out", "published", *SMALL, "--tokenizer", "tiktoken:gpt2", "--quiet"]) == 0
    text = playhouse.write(3)
    assert Experiment.open("published").tokenizer.encode(text) == tiktoken.get_encoding("gpt2").encode(text)
    assert main(["train", "--corpus", "texts", "--out", "x", *SMALL, "--tokenizer", "tiktoken:gpt7"]) == 1
    assert "it knows gpt2" in capsys.readouterr().err
    monkeypatch.delitem(registry.ENCODINGS, "gpt2")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(texts / "nothing here"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    assert main(["train", "--corpus", "texts", "--out", "x", *SMALL, "--tokenizer", "tiktoken:gpt2"]) == 1
    assert "TIKTOKEN_CACHE_DIR" in capsys.readouterr().err and not Path("x").exists()


def test_the_text_is_introduced_before_and_read_after_the_training(texts):
    done = gptcore("train", "--corpus", "texts", "--out", "told", *SMALL, "--quiet", cwd=texts)
    opened, said = Experiment.open(texts / "told"), done.stdout
    tokens, total = (sum(len(document) - 1 for document in opened.validation_documents), opened.corpus.validation_bytes)
    lowest = opened.log()["val_loss"].min()
    order = [said.index(part) for part in (
        "corpus      texts (a folder)", "train       10 documents", f"tokens of {total / tokens:.2f} bytes",
        f"{sum(p.numel() for p in opened.model().parameters()):,} parameters", f"Best validation loss {lowest:.4f}",
        f"{lowest * tokens / total / np.log(2):.4f} bits per byte", (texts / "told/sample.txt").read_text(encoding="utf-8"),
        "gptcore sample told")]
    assert order == sorted(order) and str(texts) not in said


def test_a_folder_in_another_encoding_is_read_when_told_and_its_leaks_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = ["train", "--corpus", str(ROOT / "data/repair_cafe"), "--out", "run", "--quiet", *SMALL]
    told = ["--encoding", "cp1252"]
    assert main(train) == 1 and "--encoding cp1252" in capsys.readouterr().err and not Path("run").exists()
    assert main([*train, *told, "--licence", "MIT"]) == 0
    said = capsys.readouterr().out
    assert "(zip handout final.txt) is training text" in said and "left out    2023-08-12" in said
    assert re.search(r"^plan +6 steps of 256 tokens", said, re.MULTILINE)
    card, opened = json.loads(Path("run/data_card.json").read_text(encoding="utf-8")), Experiment.open("run")
    assert card["licences"] == "MIT" and card["split"]["hash"] == opened.corpus.validation_hash
    assert card["tokenizer"]["train tokens"] == sum(len(opened.tokenizer.encode(text)) for text in opened.corpus.train)
    assert main([*train, *told]) == 0 and "holds this run already" in capsys.readouterr().out
    assert main([*train, *told, "--out", "chunks", "--chunk", "500"]) == 0
    assert len(Experiment.open("chunks").corpus.validation) > len(opened.corpus.validation)
    assert (tmp_path / "chunks/figures/leakage.png").exists() and not (tmp_path / "run/figures/leakage.png").exists()
    assert re.search(r"; (0\.[1-9]|[1-9]\d*\.\d) % within 1,000 characters", capsys.readouterr().out)
    tokenize = ["tokenize", train[2], "--out", "shards", "--tokenizer", "bpe:300", "--processes", "1", "--quiet"]
    assert main(tokenize) == 1 and main([*tokenize, *told]) == 0
    assert main(["train", "--corpus", "shards", "--out", "x", *SMALL, *told]) == 1
    assert "when they were made; encoding" in capsys.readouterr().err


def hostile(kind: str) -> None:
    """Make ./in such that nothing can be trained on it, or ./run such that nothing can be written there."""
    Path("in").mkdir()
    fine = Path("in/fine.txt")
    if kind != "missing":
        fine.write_text(playhouse.write(1))
    if kind == "empty":
        fine.write_bytes(b"")
    elif kind == "picture":
        Path("in/picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)))
    elif kind == "utf-16 without a mark":
        Path("in/notepad.txt").write_bytes(playhouse.write(2).encode("utf-16-le"))
    elif kind == "loop":
        Path("in/a.txt").symlink_to("b.txt")
        Path("in/b.txt").symlink_to("a.txt")
    elif kind == "end of text":
        fine.write_text("one <|endoftext|> two")
    elif kind == "deeper":
        Path("in/sub").mkdir()
        fine.rename("in/sub/fine.txt")
    elif kind == "missing":
        Path("in").rmdir()
    elif kind == "a file for a folder":
        Path("run").write_text("mine")


@pytest.mark.parametrize("kind, says", [
    ("empty", "no .txt file with text"), ("picture", "picture.txt is no text: it begins like a PNG picture"),
    ("utf-16 without a mark", "utf-16-le"), ("loop", "a link that leads nowhere or in a circle"),
    ("missing", "'in' is no known"), ("end of text", "marks the ends of documents"),
    ("deeper", "1 .txt files lie in its subfolders"), ("a file for a folder", "run")])
def test_hostile_input_is_named_and_leaves_nothing_behind(kind, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hostile(kind)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["train", "--corpus", "in", "--out", "run", "--quiet", *SMALL, "--n-layer", "2"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and says in said and str(tmp_path) not in said
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before and not Path("run").is_dir()


def test_a_run_of_an_older_gptcore_goes_on_and_a_damaged_one_is_named(texts, monkeypatch, capsys):
    """Before there was a way to say how a corpus is read, experiment.json did not hold it."""
    monkeypatch.chdir(texts)
    shutil.copytree("my run", "older")
    about = json.loads(Path("older/experiment.json").read_text())
    del about["reading"]
    Path("older/experiment.json").write_text(json.dumps(about))
    train = ["train", "--corpus", "texts", "--out", "older", "--quiet", *SMALL]
    assert main(train) == 0 and "holds this run already" in capsys.readouterr().out
    for name in ("config.json", "experiment.json"):
        kept = Path("older", name).read_text()
        for content in ("{}", "[]", "no JSON"):
            Path("older", name).write_text(content)
            assert main(train) == 1
            assert capsys.readouterr().err.startswith("error: older")
        Path("older", name).write_text(kept)


def test_shards_have_no_card_and_none_is_left_of_the_run_before(texts, monkeypatch, capsys):
    monkeypatch.chdir(texts)
    assert main(["tokenize", "texts", "--out", "cut", "--tokenizer", "bpe:300", "--processes", "1", "--quiet"]) == 0
    assert main(["train", "--corpus", "texts", "--out", "both", "--quiet", *SMALL]) == 0
    assert "data_card.md" in capsys.readouterr().out and Path("both/data_card.md").exists()
    without = [word for word in SMALL if word not in ("--tokenizer", "bpe:300")]
    assert main(["train", "--corpus", "cut", "--out", "both", "--overwrite", "--quiet", *without]) == 0
    assert "data_card.md" not in capsys.readouterr().out and not list(Path("both").glob("data_card*"))


def test_the_picture_of_the_losses_has_the_floor_where_it_is_known(texts, monkeypatch):
    monkeypatch.chdir(texts)
    drawn, real = [], plots.loss_curves
    monkeypatch.setattr(plots, "loss_curves", lambda *arguments: drawn.append(arguments[2]) or real(*arguments))
    assert main(["train", "--corpus", "texts", "--out", "floor", "--quiet", *SMALL]) == 0
    below = floor(Experiment.open("floor").corpus.validation)
    assert drawn == [pytest.approx(sum(d.nats.sum() for d in below) / np.log(2) / sum(len(d.nats) for d in below))]


def test_the_same_command_goes_on_and_another_one_is_refused_by_what_differs(texts, monkeypatch, capsys):
    monkeypatch.chdir(texts)
    before = Path("my run/last.safetensors").read_bytes()
    train = ["train", "--corpus", "texts", "--out", "my run", "--quiet", *SMALL]
    assert main([*train, "--recompute"]) == 0 and "holds this run already" in capsys.readouterr().out
    for changed, named in ((["--steps", "7"], "steps is 6 there and 7 here"), (["--n-embd", "32"], "n_embd is 16"),
                           (["--tokenizer", "characters"], "tokenizer is 'bpe:300'"),
                           (["--corpus", "playhouse"], "corpus is"), (["--encoding", "cp1252"], "reading is {} there"),
                           (["--sample-prompt", "Ada"], "sample_prompts is [] there")):
        assert main([*train, *changed]) == 1
        said = capsys.readouterr().err
        assert named in said and "--resume 'my run'" in said and "--overwrite" in said
    assert Path("my run/last.safetensors").read_bytes() == before
    done = gptcore(*train, "--overwrite", cwd=texts)  # in a process of its own, as before
    assert done.returncode == 0, done.stderr
    assert Path("my run/last.safetensors").read_bytes() == before  # the same run again, bit for bit


@pytest.mark.parametrize("wrong", [["--tokenizer", "words"], ["--tokenizer", "bpe:3"], ["--corpus", "nothing"],
                                   ["--n-head", "3"], ["--steps", "0"]])
def test_overwriting_with_a_mistake_loses_nothing(texts, monkeypatch, wrong):
    monkeypatch.chdir(texts)
    before = {path.name: path.read_bytes() for path in Path("my run").iterdir() if path.is_file()}
    assert main(["train", "--corpus", "texts", "--out", "my run", "--overwrite", "--quiet", *SMALL, *wrong]) == 1
    assert {path.name: path.read_bytes() for path in Path("my run").iterdir() if path.is_file()} == before


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(texts):
    """Interrupted and resumed, the run ends as one that was never interrupted."""
    long = [*SMALL, "--steps", "400", "--eval-every", "100"]
    whole = gptcore("train", "--corpus", "texts", "--out", "whole", *long, cwd=texts)
    assert whole.returncode == 0, whole.stderr
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "gptcore", "train", "--corpus", "texts", "--out", "cut", *long],
                               cwd=texts, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (texts / "cut" / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "--resume cut" in said, said
    assert int(re.search(r"after step (\d+) of 400", said)[1]) < 400
    shutil.copytree(texts / "cut", texts / "cut twice")
    for name, command in (("cut", ["--resume", "cut"]), ("cut twice", ["--corpus", "texts", "--out", "cut twice", *long])):
        done = gptcore("train", *command, cwd=texts)
        assert done.returncode == 0, done.stderr
        assert (texts / name / "best.safetensors").read_bytes() == (texts / "whole" / "best.safetensors").read_bytes()
        strip = [[row[:-1] for row in csv.reader((texts / each / "log.csv").open())] for each in (name, "whole")]
        assert strip[0] == strip[1]


def test_a_corpus_that_changed_is_noticed(texts):
    (texts / "changing.txt").write_text("one two three four five six seven eight nine ten " * 40)
    assert gptcore("train", "--corpus", "changing.txt", "--out", "changing", *SMALL, cwd=texts).returncode == 0
    (texts / "changing.txt").write_text("ten nine eight seven six five four three two one " * 40)
    done = gptcore("evaluate", "changing", cwd=texts)
    assert done.returncode == 1 and "bring the old text back" in done.stderr


@pytest.mark.parametrize("arguments, says", [
    (["evaluate", "nowhere"], "is no run folder"),
    (["sample", "nowhere"], "is no run folder"),
    (["train", "--resume", "nowhere"], "is no run folder"),
    (["train", "--corpus", "nothing.txt"], "nothing.txt"),
    (["train", "--corpus", "texts", "--out", "x", "--tokenizer", "words"], "characters, bpe:SIZE"),
    (["train", "--corpus", "texts", "--out", "x", "--steps", "0"], "steps=0"),
    (["train", "--corpus", "texts", "--out", "x", "--n-embd", "17", "--n-head", "4"], "n_embd=17"),
    (["train", "--corpus", "texts", "--out", "x", "--learning-rate", "-1"], "learning_rate=-1"),
    (["tokenize", "--corpus", "texts", "--tokenizer", "bpe:3"], "vocab_size=3"),
    (["info", "--device", "abacus"], "abacus"),
    (["sample", "my run", "--temperature", "-1"], "temperature=-1"),
    (["run", "--out", "my run"], "holds a run on texts"),
    (["info", "--threads", "0"], "0"),
])
def test_what_is_wrong_is_said_in_one_line(texts, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(texts)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and says in error and "Traceback" not in error


def test_tokenize_saves_what_train_can_use(texts, monkeypatch, capsys):
    monkeypatch.chdir(texts)
    assert main(["tokenize", "--corpus", "texts", "--tokenizer", "bpe:280", "--out", "t.json", "--quiet"]) == 0
    assert "bytes per token" in capsys.readouterr().out
    assert main(["train", "--corpus", "texts", "--out", "with t", *SMALL, "--tokenizer", "t.json", "--quiet"]) == 0
    assert (texts / "with t" / "tokenizer.json").read_bytes() == (texts / "t.json").read_bytes()


def test_a_damaged_run_folder_is_named(texts, monkeypatch, capsys):
    monkeypatch.chdir(texts)
    for name, content in (("experiment.json", "{}"), ("experiment.json", "not json"), ("tokenizer.json", "{}"),
                          ("best.safetensors", "garbage")):
        shutil.copytree("my run", "damaged", dirs_exist_ok=True)
        Path("damaged", name).write_text(content)
        assert main(["sample", "damaged"]) == 1
        assert name in capsys.readouterr().err


def test_the_run_folder_is_named_after_the_corpus(texts, monkeypatch):
    monkeypatch.chdir(texts / "texts")
    assert main(["train", "--corpus", ".", *SMALL, "--quiet"]) == 0
    assert (texts / "texts" / "runs" / "texts" / "best.safetensors").exists()


def test_a_tokenizer_is_saved_before_a_text_that_it_cannot_encode(texts, monkeypatch):
    monkeypatch.chdir(texts)
    arguments = ["tokenize", "--corpus", "texts", "--tokenizer", "characters", "--out", "c.json", "--text", "é"]
    assert main(arguments) == 1 and (texts / "c.json").exists()


def test_info_lists_the_published_sizes(capsys):
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert "3,514,836" in shown and "124,439,808" in shown and "playhouse" in shown


@pytest.mark.parametrize("command", ["run", "train", "sample", "tokenize", "evaluate", "inspect", "monitor", "export",
                                     "info"])
def test_every_option_of_every_command_is_explained(command, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    assert "None" not in text and len(text) > 200


def test_run_goes_on_and_measures_again(tmp_path):
    done = gptcore("run", "--steps", "2", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "floor" in done.stdout and "runs/playhouse" in done.stdout
    weights = (tmp_path / "runs" / "playhouse" / "best.safetensors").read_bytes()
    again = gptcore("run", "--quiet", cwd=tmp_path)
    assert again.returncode == 0 and "--again" in again.stdout
    assert (tmp_path / "runs" / "playhouse" / "best.safetensors").read_bytes() == weights
    table = re.compile(r"The ladder.*?A sample", re.DOTALL)
    assert table.search(again.stdout)[0] == table.search(done.stdout)[0]
