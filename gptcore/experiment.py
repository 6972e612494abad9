"""A run from beginning to end: text, tokenizer, model, training, report. What the command line and the notebooks call."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gptcore import corpora, plots
from gptcore.batches import Batches
from gptcore.card import CARD, NOT_STATED, make_card, save_card
from gptcore.checkpoint import Checkpoint, State, load_checkpoint
from gptcore.corpora import Corpus
from gptcore.device import Device, choose_device
from gptcore.diagnostics import firing_rates, record, unit_kinds
from gptcore.distributed import ALONE, Processes
from gptcore.evaluation import bits_per_byte, byte_nats
from gptcore.export import export, published_tokenizer
from gptcore.files import atomic_write
from gptcore.gpt import GPT, GPTConfig, load_weights
from gptcore.ladder import counting_rungs, floor, gap_by_kind, ladder, worth_by_kind
from gptcore.playhouse import Verdict, judge
from gptcore.runs import RunFolder
from gptcore.samples import SAMPLES, read_samples, write_samples
from gptcore.sampling import sample_text
from gptcore.schedule import SWITCHES, TrainConfig
from gptcore.shards import Shards, Stream, is_shards
from gptcore.tokenizer import PATTERN_NAMES, BPETokenizer, CharTokenizer, Tokenizer, encode_document, load_tokenizer
from gptcore.training import accumulate_gradients, train

__all__ = ["DEFAULT_TOKENIZER", "Experiment", "Inspection", "Report", "begun", "inspect", "make_tokenizer", "report",
           "resume", "start", "wrap_up"]

DEFAULT_TOKENIZER = "bpe:4096"
SAMPLE, LOSSES = "sample.txt", "figures/loss.png"  # what a finished run leaves in its folder


def make_tokenizer(name: str, corpus: Corpus, progress: bool = True) -> Tokenizer:
    """Train or load a tokenizer: `characters`, `bpe:4096` (or another size), `tiktoken:gpt2`, or the path of a saved one.

    BPE cuts texts by GPT-4's pattern, or by the one that is named: `bpe:4096:gpt2` (as an export to GGUF needs it), none.
    It learns from the training documents alone. The alphabet of `characters` is that of both sides: a letter that only
    the validation text holds could not be encoded. tiktoken fetches its tables when they are first asked for.
    """
    if name == "characters":
        return CharTokenizer.train([*corpus.train, *corpus.validation])
    patterns = {known: pattern for pattern, known in PATTERN_NAMES.items()}
    if (asked := re.fullmatch(r"bpe:(\d+)(?::(\w+))?", name)) and (asked[2] or "gpt4") in patterns:
        return BPETokenizer.train(corpus.train, int(asked[1]), patterns[asked[2] or "gpt4"], progress=progress)
    if name.startswith("tiktoken:"):
        return published_tokenizer(name.removeprefix("tiktoken:"))
    if Path(name).is_file():
        return load_tokenizer(name)
    raise ValueError(f"{name!r} is no tokenizer: write characters, bpe:SIZE (as in bpe:4096), bpe:SIZE:PATTERN (as in "
                     f"bpe:4096:gpt2; patterns are {', '.join(patterns)}), tiktoken:NAME (as in tiktoken:gpt2) or the path "
                     "of a saved one")


@dataclass(frozen=True)
class Experiment:
    """A run folder with its text and tokenizer; the weights are read from the folder when they are needed."""

    folder: RunFolder
    corpus: Corpus
    tokenizer: Tokenizer
    sample_prompts: tuple[str, ...] = ()  # what the model continues whenever it has been evaluated
    shards: Shards | None = None  # where the training text lies if it is not in `corpus`

    @classmethod
    def open(cls, folder: str | Path) -> "Experiment":
        """Open the folder that `start` made. Raises ValueError when it is none, or when its text has changed since."""
        run = RunFolder(folder)
        about = run.path / "experiment.json"
        if not about.is_file():
            raise ValueError(f"{run.path} is no run folder (it has no {about.name}); make one with python -m gptcore train")
        try:
            settings = json.loads(about.read_text(encoding="utf-8"))
            name, expected = settings["corpus"], settings["validation_sha256"]
            prompts, reading = tuple(settings.get("sample_prompts", ())), settings.get("reading", {})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{about} is damaged ({error!r}); bring back a copy of it, or train anew") from None
        corpus, shards = open_corpus(name, reading)
        if corpus.validation_hash != expected:
            raise ValueError(f"the validation text of {name} had the hash {expected} when the run began and has "
                             f"{corpus.validation_hash} now; bring the old text back, or train anew")
        return cls(run, corpus, load_tokenizer(run.path / "tokenizer.json"), prompts, shards)

    @cached_property
    def train_documents(self) -> list[np.ndarray] | Stream:
        """The encoded training documents, in memory or still on disk."""
        return self.shards.parts[0] if self.shards else [encode_document(self.tokenizer, text) for text in self.corpus.train]

    @cached_property
    def validation_documents(self) -> list[np.ndarray]:
        """The encoded validation documents."""
        return [encode_document(self.tokenizer, text) for text in self.corpus.validation]

    @property
    def bytes_per_token(self) -> float:
        """Bytes of validation text per predicted token: how to turn a loss by token into one by byte."""
        return self.corpus.validation_bytes / sum(len(document) - 1 for document in self.validation_documents)

    @property
    def floor(self) -> float | None:
        """The bits per byte that no model gets below on the validation text; None where its grammar is not known."""
        derivations = floor(self.corpus.validation)
        return bits_per_byte([each.nats for each in derivations]).value if derivations else None

    def write(self, model: GPT, tokens: int = 400, seed: int = 1) -> str:
        """What the model writes from the start of a document, drawn from `seed`."""
        generator = torch.Generator().manual_seed(seed)
        return "".join(sample_text(model, self.tokenizer, max_new_tokens=tokens, generator=generator))

    def log(self) -> pd.DataFrame:
        """The log of the run, one row per evaluation."""
        return pd.read_csv(self.folder.log)

    def model(self) -> GPT:
        """The model with the lowest validation loss of the run."""
        if not self.folder.best.exists():
            raise ValueError(f"{self.folder.path} has no weights yet; to train: {self.folder.how_to_resume}")
        return load_weights(self.folder.best)

    def export(self, to: str, folder: str | Path | None = None, **how: Any) -> list[Path]:
        """Write the best model for another program, as `gptcore.export.export` does: into export/`to` of the run folder."""
        model, best = self.model(), self.log()["val_loss"].min()
        bits = best / math.log(2) / self.bytes_per_token
        about = f"{self.corpus}\nloss        {best:.4f} nats per token, {bits:.4f} bits per byte (validation)"
        if (card := self.folder.path / CARD[0]).is_file():
            about += f"\ntexts       licence {_read_json(card)['licences']}"
        return export(model, self.tokenizer, to, folder or self.folder.path / "export" / to,
                      name=self.folder.path.resolve().name, about=about, **how)

    def fit(self, model: GPT, config: TrainConfig, device: Device | None, processes: Processes, resume: bool,
            progress: bool) -> None:
        """Train to the end, from the beginning or from the last checkpoint."""
        train(model, self.train_documents, self.validation_documents, config, self.folder.path,
              device=device or choose_device(), processes=processes, resume=resume, overwrite=True, progress=progress,
              bytes_per_token=self.bytes_per_token,
              after_evaluation=self.sample if self.sample_prompts and processes.first else None)

    def sample(self, model: GPT, state: State) -> None:
        """Let the model continue the prompts of the run, into samples.csv."""
        with self.folder.saving():
            write_samples(self.folder.path / SAMPLES, state.step, model, self.tokenizer, self.sample_prompts)

    def catch_up(self, model: GPT, checkpoint: Checkpoint, config: TrainConfig) -> None:
        """Write the samples that a run lacks because it was killed between its checkpoint and them."""
        step = checkpoint.state.step
        evaluated = step > 0 and (step % config.eval_every == 0 or step == config.steps)
        written = [row["step"] for row in read_samples(self.folder.path / SAMPLES)]
        if self.sample_prompts and evaluated and step not in written:
            model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in checkpoint.tensors.items()
                                   if name.startswith("model.")})
            self.sample(model, checkpoint.state)


def open_corpus(name: str, reading: Mapping[str, Any]) -> tuple[Corpus, Shards | None]:
    """corpora.load(name, **reading); of a folder of shards only the text to be judged by, and the shards."""
    shards = Shards(name) if name not in corpora.KNOWN and is_shards(name) else None
    if shards and reading:
        raise ValueError(f"{name} holds shards, whose text was read and split when they were made; {', '.join(reading)} is "
                         "for tokenize to know")
    return shards.corpus() if shards else corpora.load(name, **reading), shards


def begun(
    folder: str | Path, corpus: str, tokenizer: str | None, model: GPTConfig, config: TrainConfig,
    sample_prompts: Sequence[str] = (), reading: Mapping[str, Any] | None = None,
) -> bool:
    """Does the folder hold this very run, so that `resume` goes on with it? The arguments are those of `start`.

    Raises FileExistsError where it holds another run, naming what differs; schedule.SWITCHES may differ.
    """
    run = RunFolder(folder)
    if not run.last.exists():
        return False
    try:
        there = {"reading": {}} | _read_json(run.path / "experiment.json") | _settings(**_read_json(run.config))
    except TypeError as error:
        raise ValueError(f"{run.config} is damaged ({error}); bring back a copy of it, or train anew with --overwrite"
                         ) from None
    asked = _about(corpus, tokenizer, sample_prompts, reading) | _settings(model.to_dict(), config.to_dict())
    if differences := [f"{name} is {there.get(name)!r} there and {value!r} here" for name, value in asked.items()
                       if there.get(name) != value]:
        raise FileExistsError(f"{run.path} already holds a run, another one: {'; '.join(differences)}. To go on with it as "
                              f"it is: {run.how_to_resume}. To replace it: --overwrite, or overwrite=True. To keep it: "
                              "another folder")
    return True


def start(
    folder: str | Path,
    corpus: str,
    tokenizer: str | None,
    model: GPTConfig,
    config: TrainConfig,
    *,
    device: Device | None = None,
    processes: Processes = ALONE,
    overwrite: bool = False,
    progress: bool = True,
    sample_prompts: Sequence[str] = (),
    reading: Mapping[str, Any] | None = None,
    licence: str = NOT_STATED,
    before: Callable[[Experiment, GPTConfig], None] | None = None,
) -> Experiment:
    """Train a new model from a corpus into a folder. Its vocabulary is the tokenizer's, whatever `model` says.

    `reading` holds options of corpora.load: encoding, chunk, validation, gap. `licence` goes into the data card,
    data_card.md; shards have none. `before` is called with what was prepared, in the first process, before the first step.
    At each evaluation the model continues each of the `sample_prompts`, the empty one from the start of a document:
    samples.csv.
    The corpus can be a folder of shards; they are read once, to be held to their checksums. The tokenizer is theirs then,
    and another one is refused. `tokenizer` None means theirs, or DEFAULT_TOKENIZER.
    Of several processes the first prepares the folder, and the others read what lies there.
    """
    def made() -> tuple[Experiment, GPT]:
        processes.refuse_uneven(config.accumulation)
        experiment, gpt = prepare(folder, corpus, tokenizer, model, config.seed, overwrite, progress, tuple(sample_prompts),
                                  reading, licence)
        if before:
            before(experiment, gpt.config)
        return experiment, gpt

    if prepared := processes.on_first(made):
        experiment, gpt = prepared
    else:
        experiment = Experiment.open(folder)
        gpt = new_model(model, experiment.tokenizer, config.seed)
    experiment.fit(gpt, config, device, processes, resume=False, progress=progress)
    return experiment


def prepare(
    folder: str | Path, corpus: str, tokenizer: str | None, model: GPTConfig, seed: int, overwrite: bool, progress: bool,
    sample_prompts: tuple[str, ...], reading: Mapping[str, Any] | None, licence: str,
) -> tuple[Experiment, GPT]:
    """Make the folder of a new run, with its tokenizer and its data card, and the model."""
    text, shards = open_corpus(corpus, reading or {})
    run = RunFolder(folder)
    run.refuse_if_used(overwrite)  # at once, and nothing is removed before all that can be refused has been looked at
    about = _about(corpus, tokenizer, sample_prompts, reading)
    if shards:
        if tokenizer:
            shards.refuse_other(make_tokenizer(tokenizer, text, progress))
        shards.verify(progress)
        made = shards.tokenizer
    else:
        made = make_tokenizer(about["tokenizer"], text, progress)
    experiment = Experiment(run, text, made, sample_prompts, shards)
    for prompt in sample_prompts:
        experiment.tokenizer.encode(prompt)  # what cannot be encoded is refused here
    gpt = new_model(model, experiment.tokenizer, seed)
    run.sweep()
    run.empty(overwrite)
    for left in (SAMPLES, SAMPLE, *CARD):  # of the run that was here
        (run.path / left).unlink(missing_ok=True)
    experiment.tokenizer.save(run.path / "tokenizer.json")
    if not shards:
        save_card(make_card(text, made, licence, [ids[1:-1] for ids in experiment.train_documents]), run.path)
    with atomic_write(run.path / "experiment.json") as temporary:
        about["validation_sha256"] = text.validation_hash
        temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return experiment, gpt


def _about(
    corpus: str, tokenizer: str | None, sample_prompts: Sequence[str], reading: Mapping[str, Any] | None
) -> dict:
    """What experiment.json says of the arguments of `start`."""
    path = corpus not in corpora.KNOWN and Path(corpus).exists()
    return {"corpus": str(Path(corpus).resolve()) if path else corpus,  # to be found again from another folder
            "tokenizer": tokenizer if tokenizer or (path and is_shards(corpus)) else DEFAULT_TOKENIZER,
            "sample_prompts": list(sample_prompts), "reading": dict(reading or {})}


def _settings(model: dict, train: dict, **_: object) -> dict:
    """What makes a run this one and no other. The vocabulary follows from the text."""
    return {name: value for name, value in (model | train).items() if name != "vocab_size" and name not in SWITCHES}


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error!r}); bring back a copy of it, or train anew with --overwrite"
                         ) from None


def new_model(config: GPTConfig, tokenizer: Tokenizer, seed: int) -> GPT:
    """Draw the weights of a model for the tokenizer's vocabulary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT(dataclasses.replace(config, vocab_size=tokenizer.vocab_size))


def resume(
    folder: str | Path,
    *,
    device: Device | None = None,
    processes: Processes = ALONE,
    progress: bool = True,
    **switches: bool,
) -> Experiment:
    """Go on with the run in a folder, exactly; a run that had ended is left as it is.

    The settings are those in the folder; `switches`, of `schedule.SWITCHES`, may be given anew.
    """
    experiment = Experiment.open(folder)
    if not experiment.folder.last.exists():
        raise ValueError(f"{experiment.folder.path} was stopped before its first checkpoint; start it anew with --overwrite")
    checkpoint = load_checkpoint(experiment.folder.last)
    settings = checkpoint.settings
    model, config = GPT(GPTConfig.from_dict(settings["model"])), TrainConfig.from_dict(settings["train"] | switches)
    processes.on_first(lambda: experiment.catch_up(model, checkpoint, config))
    experiment.fit(model, config, device, processes, resume=True, progress=progress)
    return experiment


def wrap_up(experiment: Experiment, device: Device | None = None) -> str:
    """Let the best model of a run write, and draw its losses: sample.txt, which is returned, and figures/loss.png."""
    device, folder = device or choose_device(), experiment.folder
    sample = experiment.write(experiment.model().to(device.device))
    with folder.saving(), atomic_write(folder.path / SAMPLE) as temporary:
        temporary.write_text(sample, encoding="utf-8")
    plots.save(plots.loss_curves(experiment.log(), experiment.bytes_per_token, experiment.floor), folder.path / LOSSES)
    return sample


@dataclass(frozen=True)
class Report:
    """What came out of a run: its place on the ladder, its gap to the grammar by kind, a sample and what to say of it."""

    ladder: pd.DataFrame
    gap: pd.DataFrame | None  # None where the floor is not known
    sample: str
    verdict: Verdict | None
    figures: list[Path]

    def __str__(self) -> str:
        shown = self.ladder.drop(columns=[] if "floor" in self.ladder.index else "above lowest")
        shown = shown.rename(columns={"above lowest": "% above the floor"})
        parts = ["The ladder, all on the same validation bytes:\n", table(shown, {"% above the floor": 1})]
        if self.gap is not None:
            total = self.gap.drop(columns="worth").sum().rename("sum").to_frame().T
            parts += ["\nBits per byte by kind of structure. The gap is what the GPT has not learned;\n"
                      "the worth of a kind is what a reader loses who knows all but that:\n",
                      table(pd.concat([self.gap, total]).rename(columns={"share": "% of the gap"}), {"% of the gap": 1})]
        parts += ["\nA sample:\n", self.sample]
        if self.verdict is not None:
            parts += ["What the line reader says of it:\n", str(self.verdict)]
        return "\n".join(parts)


def table(frame: pd.DataFrame, decimals: dict[str, int]) -> str:
    """A table for the console, four decimals unless a column says otherwise; what is not a number stays empty."""
    shown = pd.DataFrame({name: [f"{value:.{decimals.get(name, 4)}f}" if value == value else "" for value in frame[name]]
                          for name in frame.columns}, index=frame.index)
    return shown.to_string(col_space=10)


def report(
    experiment: Experiment,
    *,
    figures: str | Path | None = None,
    seed: int = 1,
    device: Device | None = None,
    progress: bool = True,
) -> Report:
    """Score the best model of a run on the whole validation text, beside the counting models and the floor.

    Figures go to the folder `figures` (default: `figures` within the run).
    """
    device = device or choose_device()
    corpus, tokenizer = experiment.corpus, experiment.tokenizer
    model = experiment.model().to(device.device)
    ours = byte_nats(model, experiment.validation_documents, tokenizer, device=device, progress=progress)
    derivations = floor(corpus.validation)
    rungs = counting_rungs(corpus.train, corpus.validation) | {"GPT": ours}
    gap = None
    if derivations is not None:
        rungs["floor"] = [derivation.nats for derivation in derivations]
        gap = gap_by_kind(ours, derivations).assign(worth=worth_by_kind(corpus.validation))
    rows = ladder(rungs)
    sample = experiment.write(model, seed=seed)
    place = Path(figures) if figures else experiment.folder.path / "figures"
    lowest = rows.loc["floor", "bits per byte"] if gap is not None else None
    drawn = {"loss.png": plots.loss_curves(experiment.log(), experiment.bytes_per_token, lowest),
             "ladder.png": plots.ladder_bars(rows)}
    if gap is not None:
        drawn["gap.png"] = plots.gap_bars(gap)
    files = [plots.save(figure, place / name) for name, figure in drawn.items()]
    return Report(rows, gap, sample, judge(sample) if gap is not None else None, files)


@dataclass(frozen=True)
class Inspection:
    """What goes on inside the best model of a run: tables of `gptcore.diagnostics`, and the files of their pictures."""

    activations: pd.DataFrame
    gradients: pd.DataFrame
    units: pd.DataFrame
    figures: list[Path]

    def __str__(self) -> str:
        def shown(frame: pd.DataFrame) -> str:
            return frame.to_string(float_format="{:.3g}".format)

        return "\n".join([
            "What comes out of each activation function, over the validation text:\n",
            shown(self.activations.drop(columns="count")),
            "\nThe gradient with respect to its output and to its input, over one batch of training text:\n",
            shown(self.gradients.drop(columns="count")),
            "\nUnits that never fire on the validation text (dead), at less than 1 position in 100 (sparse), or at each one "
            "(always):\n", shown(self.units)])


def inspect(experiment: Experiment, *, figures: str | Path | None = None, device: Device | None = None) -> Inspection:
    """Look inside the best model of a run. Figures go to the folder `figures` (default: `figures` within the run)."""
    device, model = device or choose_device(), experiment.model()
    model.to(device.device)
    with record(model) as tape:
        rates = firing_rates(model, experiment.validation_documents)
    batches = Batches(experiment.train_documents, model.config.block_size, 16, seed=0)
    with record(model, "gradients") as back:
        accumulate_gradients(model, [batches.batch(0)], device)
    activations, gradients, units = tape.activations(), back.gradients(), unit_kinds(rates)
    drawn = {
        "loss.png": plots.loss_curves(experiment.log(), experiment.bytes_per_token, experiment.floor),
        "activations.png": plots.layer_histograms(tape.histograms(), activations, "What the activation functions give"),
        "gradients.png": plots.layer_histograms(back.histograms("input"), gradients.xs("input", level="side"),
                                                "The gradient that passes each activation function",
                                                "gradient of the loss by what goes in"),
        "firing.png": plots.firing_curves(rates, f"{units['dead'].sum()} of {units['units'].sum()} units never fire"),
    }
    place = Path(figures) if figures else experiment.folder.path / "figures"
    return Inspection(activations, gradients, units, [plots.save(figure, place / name) for name, figure in drawn.items()])
