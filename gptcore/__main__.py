"""The command line: python -m gptcore run, train, sample, evaluate, export and more. Each command has a --help."""

import argparse
import dataclasses
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import torch

from gptcore import corpora, leakage, planning, plots
from gptcore.advice import advice
from gptcore.card import NOT_STATED
from gptcore.device import Device, choose_device, environment_report, set_threads
from gptcore.distributed import Elsewhere, Lost, Processes
from gptcore.experiment import DEFAULT_TOKENIZER, Experiment, begun, make_tokenizer, report, resume, start, wrap_up
from gptcore.experiment import inspect as look_inside
from gptcore.export import TARGETS, TYPES
from gptcore.files import atomic_write
from gptcore.gpt import PRESETS, GPTConfig, count_parameters
from gptcore.monitor import follow
from gptcore.runs import RunFolder
from gptcore.sampling import sample_text
from gptcore.schedule import OPTIMIZERS, SCHEDULES, SWITCHES, TrainConfig
from gptcore.shard_writer import refuse_foreign
from gptcore.shards import TOKENIZER, is_shards
from gptcore.sources import alphabet, beginning, open_source
from gptcore.tokenizing import write_shards
from gptcore.training import Diverged, Interrupted

RUN = Path("runs/playhouse")
DISTANCES = 100, 300, 1000, 3000, 10_000, 100_000  # characters from a passage to the training text that holds it, too
READING = "encoding", "chunk"  # options of corpora.load
LOOKED_THROUGH = 1_000_000  # bytes of validation text, up to which train says what it shares with the training text
DEFAULTS = {"corpus": "playhouse", "tokenizer": DEFAULT_TOKENIZER, "preset": "playhouse"}
TRAIN = TrainConfig(steps=1000, batch_size=16, learning_rate=2e-3, warmup=50, eval_every=100, eval_windows=64)
EXPORTABLE = "bpe:2048:gpt2"  # llama.cpp knows GPT-2's pattern
# What two minutes on two CPU cores buy on the Playhouse: many small steps. The strong decay keeps a model that reads its
# text several times from learning it by heart.
RUN_TRAIN = dataclasses.replace(TRAIN, steps=1800, batch_size=4, learning_rate=5e-3, weight_decay=1.0, eval_every=150)


MODEL_HELP = {
    "block_size": "tokens that the model sees at once",
    "n_layer": "blocks",
    "n_head": "attention heads of a block",
    "n_embd": "channels of the residual stream",
    "head_size": "channels of a head (n_embd / n_head)",
    "dropout": "share of activations that training leaves out",
    "activation": "what the MLP does between its layers",
}
TRAIN_HELP = {
    "steps": "optimizer steps",
    "batch_size": "windows of a micro-batch",
    "accumulation": "micro-batches of a step",
    "learning_rate": "highest learning rate",
    "min_learning_rate": "lowest learning rate (a tenth of the highest)",
    "warmup": "steps in which the rate rises (a tenth of all, at most 50)",
    "schedule": "how the rate falls afterwards",
    "optimizer": "what moves the weights; muon needs fewer steps, and torch 2.9",
    "factor": "plateau: what the rate is multiplied by",
    "patience": "plateau: evaluations without progress before that",
    "weight_decay": "pull of the weights towards 0",
    "betas": "AdamW's memory for gradients and for their squares",
    "clip": "largest gradient norm, 0 for no bound",
    "eval_every": "steps between evaluations",
    "eval_windows": "validation windows of an evaluation",
    "seed": "the same seed, machine and threads train the same model",
    "compile": "let torch.compile make kernels for the model: a minute at the start, then faster on a GPU",
    "recompute": "compute activations twice instead of keeping them: less memory, more time",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it went well, 1 after an error it could name, 130 after Ctrl-C."""
    options, processes = parser().parse_args(arguments), Processes.started()
    try:
        if processes.count > 1 and options.command is not train:
            raise ValueError("torchrun started several processes, and only train shares its work among them")
        if options.threads is not None:
            set_threads(options.threads)
        options.command(options)
    except Interrupted as interrupted:
        if processes.first:
            print(f"\n{interrupted}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has read enough
        sys.stderr.close()
        return 0
    except (ValueError, OSError, ModuleNotFoundError, Diverged, Lost) as error:
        if processes.first or not isinstance(error, Diverged):  # which meets all alike
            print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except Elsewhere:
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    top = argparse.ArgumentParser(prog="python -m gptcore", description="Train a GPT, measure it, read what it writes.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function, name: str, text: str, device: bool = True, bars: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text + ".", epilog=function.__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        sub.set_defaults(command=function, threads=None)
        if device:
            sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
            sub.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (auto)")
            sub.add_argument("--threads", type=int, metavar="N", help="CPU threads (as many as there are cores)")
        if bars:
            sub.add_argument("--quiet", action="store_true", help="no progress bars")
        return sub

    sub = command(run, "run", "train a small GPT on the embedded corpus, then measure it")
    sub.add_argument("--out", type=Path, default=RUN, help=f"the run folder ({RUN})")
    sub.add_argument("--again", action="store_true", help="train anew, even if the folder already holds a run")
    sub.add_argument("--steps", type=int, default=RUN_TRAIN.steps, help=f"optimizer steps of a new run ({RUN_TRAIN.steps})")
    sub.add_argument("--figures", type=Path, metavar="FOLDER", help="where the figures go (figures in the run folder)")

    sub = command(train, "train", "train a GPT on any text")
    sub.add_argument("--corpus", default=DEFAULTS["corpus"],
                     help=f"a name ({', '.join(corpora.KNOWN)}), a .txt file, a folder of them, a list of books (.csv) or a "
                          f"folder of shards "
                          f"({DEFAULTS['corpus']})")
    sub.add_argument("--encoding", metavar="NAME",
                     help="the encoding of files that are not UTF-8, as cp1252 (such files are refused)")
    sub.add_argument("--chunk", type=int, metavar="N", help="hold out the last tenth of each N characters instead of whole "
                     "documents; having read right up to it, a model looks better than it is")
    sub.add_argument("--licence", default=NOT_STATED, metavar="TEXT",
                     help=f"the licence of the text, for the data card ({NOT_STATED})")
    sub.add_argument("--out", type=Path, help="the run folder (runs/NAME OF THE CORPUS)")
    sub.add_argument("--tokenizer", help="characters, bpe:SIZE, bpe:SIZE:gpt2, tiktoken:gpt2 or the path of a saved one "
                                         f"(that of the shards, or {DEFAULTS['tokenizer']}; {EXPORTABLE} with --preset "
                                         "exportable)")
    sub.add_argument("--preset", choices=PRESETS, default=DEFAULTS["preset"], help=f"the model ({DEFAULTS['preset']})")
    sub.add_argument("--resume", type=Path, metavar="RUN",
                     help="continue the run in this folder, with its own settings; of other options of training only "
                     f"{' and '.join(map(flag, SWITCHES))} count")
    sub.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    sub.add_argument("--sample-prompt", action="append", default=[], metavar="TEXT", dest="sample_prompts",
                     help="let the model continue this at every evaluation, into samples.csv; the empty text is the start "
                          "of a document; may be given several times")
    group = sub.add_argument_group("the model, where it differs from the preset")
    for name, text in MODEL_HELP.items():
        if name == "activation":
            group.add_argument("--activation", choices=("gelu", "relu"), help=text)
        else:
            kind = float if name == "dropout" else int
            group.add_argument(flag(name), type=kind, metavar=kind.__name__.upper(), help=text)
    group = sub.add_argument_group("the training")
    for field in dataclasses.fields(TRAIN):
        default, text = getattr(TRAIN, field.name), TRAIN_HELP[field.name]
        if choices := {"schedule": SCHEDULES, "optimizer": OPTIMIZERS}.get(field.name):
            group.add_argument(flag(field.name), choices=choices, default=default, help=f"{text} ({default})")
        elif field.name in SWITCHES:
            group.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, help=text)
        elif field.name == "betas":
            group.add_argument("--betas", type=float, nargs=2, default=default, metavar="FLOAT", help=f"{text} {default}")
        elif field.name in ("warmup", "min_learning_rate"):
            kind = int if field.name == "warmup" else float
            group.add_argument(flag(field.name), type=kind, metavar=kind.__name__.upper(), help=text)
        else:
            group.add_argument(flag(field.name), type=type(default), default=default, metavar=type(default).__name__.upper(),
                               help=f"{text} ({default:g})")

    sub = command(sample, "sample", "let a trained model write", bars=False)
    sub.add_argument("run", type=Path, help="a run folder")
    sub.add_argument("--prompt", default="", help="the text to continue; it counts as the start of a document")
    sub.add_argument("--tokens", type=int, default=400, help="how many at most (400)")
    sub.add_argument("--temperature", type=float, default=1.0, help="below 1: safer, above: wilder, 0: the likeliest (1)")
    sub.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens only")
    sub.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that make up P only")
    sub.add_argument("--seed", type=int, default=1, help="the same seed writes the same text (1)")
    sub.add_argument("--interactive", action="store_true", help="ask for one prompt after the other")
    sub.add_argument("--out", type=Path, metavar="FILE", help="keep what is written in this file, too")

    sub = command(tokenize, "tokenize", "train a tokenizer and look at what it does, or make shards of a large text",
                  device=False)
    sub.add_argument("source", nargs="?", metavar="SOURCE",
                     help="make shards of this text: a .txt file, a folder of them, .jsonl, .parquet, a name on the hub")
    sub.add_argument("--out", type=Path, metavar="PATH", help="the folder for the shards; without SOURCE, a file for the "
                                                              "tokenizer (JSON)")
    sub.add_argument("--tokenizer", help=f"as in train ({DEFAULTS['tokenizer']}, learned from the first 20 MB of SOURCE)")
    sub.add_argument("--encoding", metavar="NAME", help="as in train")
    group = sub.add_argument_group("without SOURCE")
    group.add_argument("--corpus", default=DEFAULTS["corpus"], help=f"as in train ({DEFAULTS['corpus']})")
    group.add_argument("--text", help="show how this text is cut (the beginning of the validation text)")
    group = sub.add_argument_group("with SOURCE")
    group.add_argument("--column", default="text", help="where rows have their text (text)")
    group.add_argument("--split", default="train", help="which part of a data set (train)")
    group.add_argument("--processes", type=int, metavar="N", help="how many encode at once (as many as there are cores)")

    sub = command(evaluate, "evaluate", "place a trained model on the ladder")
    sub.add_argument("run", type=Path, help="a run folder")
    sub.add_argument("--figures", type=Path, metavar="FOLDER", help="where the figures go (figures in the run folder)")

    sub = command(inspect, "inspect", "look inside a trained model: activations, gradients, dead units", bars=False)
    sub.add_argument("run", type=Path, help="a run folder")
    sub.add_argument("--figures", type=Path, metavar="FOLDER", help="where the figures go (figures in the run folder)")

    sub = command(monitor, "monitor", "watch a run while it trains, from another terminal", device=False, bars=False)
    sub.add_argument("run", type=Path, help="a run folder")
    sub.add_argument("--every", type=float, default=10, metavar="SECONDS", help="how often to look (10)")
    sub.add_argument("--once", action="store_true", help="look once and end")

    sub = command(export, "export", "write a trained model for other programs", device=False, bars=False)
    sub.add_argument("run", type=Path, help="a run folder")
    sub.add_argument("--to", required=True, choices=TARGETS,
                     help="; ".join(f"{name}: for {program}" for name, program in TARGETS.items()))
    sub.add_argument("--out", type=Path, metavar="FOLDER", help="where it goes (export/hf, or so, in the run folder)")
    sub.add_argument("--type", choices=TYPES, help="the number format of the weights, with gguf (f32)")
    sub.add_argument("--licence", metavar="TEXT", help="what the README there says of the licence (not stated)")
    sub.add_argument("--overwrite", action="store_true", help="replace files in the folder that are not of an older export")

    sub = command(info, "info", "show the machine, the presets, what training them takes, and the corpora", bars=False)
    sub.add_argument("preset", nargs="?", choices=PRESETS, help="parameters, operations, memory and time of this one")
    sub.add_argument("--batch-size", type=int, default=16, metavar="N", help="windows of a micro-batch, for its memory (16)")
    sub.add_argument("--utilisation", type=float, default=planning.UTILISATION, metavar="SHARE",
                     help=f"share of its peak at which a card works ({planning.UTILISATION})")
    return top


def default_warmup(steps: int) -> int:
    return min(TRAIN.warmup, steps // 10)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def run(options: argparse.Namespace) -> None:
    """The folder can be used again: a run that was stopped goes on where it was, a finished one is only measured again."""
    device, progress, folder = announce(options), not options.quiet, RunFolder(options.out)
    if folder.last.exists() and not options.again:
        if (name := Experiment.open(options.out).corpus.name) != DEFAULTS["corpus"]:
            raise ValueError(f"{options.out} holds a run on {name}; choose another --out, or --again to replace that run")
        print(f"{options.out} holds a run already: it goes on from its last checkpoint (--again trains anew)")
        experiment = resume(options.out, device=device, progress=progress)
    else:
        config = dataclasses.replace(RUN_TRAIN, steps=options.steps, warmup=default_warmup(options.steps))
        experiment = start(options.out, DEFAULTS["corpus"], DEFAULTS["tokenizer"], PRESETS[DEFAULTS["preset"]], config,
                           device=device, overwrite=options.again or not folder.best.exists(), progress=progress)
    conclude(experiment, options, device)


def train(options: argparse.Namespace) -> None:
    """The same command goes on with a run that was stopped. Examples:
      python -m gptcore train --corpus my_text.txt --out runs/mine
      python -m gptcore train --corpus tinyshakespeare --tokenizer characters --steps 2000
      python -m gptcore train --resume runs/mine
      torchrun --nproc-per-node 2 -m gptcore train --accumulation 2 --batch-size 8"""
    processes = Processes.started()
    device = processes.choose_device(options.device, options.precision)
    with processes.joined(device):
        if processes.first:
            print(f"on {device}" + (f"; {processes.count} processes" if processes.count > 1 else ""), flush=True)
        experiment = train_together(options, device, processes)
    if processes.first:
        lowest, folder = experiment.log()["val_loss"].min(), experiment.folder.path
        print(f"Best validation loss {lowest:.4f} nats per token on fixed windows, or "
              f"{lowest / math.log(2) / experiment.bytes_per_token:.4f} bits per byte.\n\nA sample:\n\n"
              f"{wrap_up(experiment, device)}\n\n"
              f"In {folder}: log.csv, best and last checkpoint,{' data_card.md,' * (experiment.shards is None)} sample.txt, "
              "figures/loss.png.\n"
              f"To read more:  python -m gptcore sample {folder}\n"
              f"To measure it: python -m gptcore evaluate {folder}\n"
              f"To look into:  python -m gptcore inspect {folder}")


def introduce(experiment: Experiment, model: GPTConfig, config: TrainConfig) -> None:
    """Say what is about to be trained on what, and what can come of it."""
    corpus, size = experiment.corpus, experiment.shards and experiment.shards.index["bytes"]
    print(f"{corpus}\ntokenizer   {experiment.tokenizer}")
    if corpus.name not in corpora.KNOWN and not size and corpus.validation_bytes < LOOKED_THROUGH:
        passages = leakage.shared_passages(corpus)
        print(f"\n{leakage.report(corpus, passages=passages)}")
        if (passages["distance"] < math.inf).any():  # else no text was cut, and there is no distance to draw
            found = leakage.found_within(passages, DISTANCES)
            figure = plots.leak_curves({"found": found}, DISTANCES, "What is judged stands near what was read")
            print(f"how near: {plots.save(figure, experiment.folder.path / 'figures/leakage.png')}")
    print(f"\n{advice(corpus, 1 / experiment.bytes_per_token, model, config, size)}\n", flush=True)


def train_together(options: argparse.Namespace, device: Device, processes: Processes) -> Experiment:
    """Begin a run or go on with one, as the options say."""
    how = {"device": device, "processes": processes, "progress": not options.quiet}
    switches = {name: getattr(options, name) for name in SWITCHES if getattr(options, name) is not None}
    if options.resume:
        return resume(options.resume, **how, **switches)
    changed = {name: getattr(options, name) for name in MODEL_HELP if getattr(options, name) is not None}
    model = dataclasses.replace(PRESETS[options.preset], **changed)
    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(TrainConfig)
              if field.name not in SWITCHES} | switches
    fields["warmup"] = default_warmup(options.steps) if options.warmup is None else options.warmup
    if options.preset == "exportable" and not options.tokenizer and not is_shards(options.corpus):
        options.tokenizer = EXPORTABLE
    path = Path(options.corpus).resolve()
    out = options.out or Path("runs") / (path.stem if path.is_file() else path.name)
    asked = options.corpus, options.tokenizer, model, TrainConfig.from_dict(fields)
    read = {"sample_prompts": options.sample_prompts,
            "reading": {name: value for name in READING if (value := getattr(options, name)) is not None}}
    there = processes.on_first(lambda: not options.overwrite and begun(out, *asked, **read))
    if processes.any(bool(there)):
        if processes.first:
            print(f"{out} holds this run already: it goes on from its last checkpoint (--overwrite begins anew)", flush=True)
        return resume(out, **how, **switches)
    return start(out, *asked, overwrite=options.overwrite, licence=options.licence, **read, **how,
                 before=lambda experiment, model: introduce(experiment, model, asked[-1]))


def evaluate(options: argparse.Namespace) -> None:
    """Every rung is scored on every byte of the validation text. The floor is known for the Playhouse only."""
    conclude(Experiment.open(options.run), options, announce(options))


def inspect(options: argparse.Namespace) -> None:
    """What the tables and figures say is built and explained in notebooks/06_diagnostics.ipynb."""
    found = look_inside(Experiment.open(options.run), figures=options.figures, device=announce(options))
    print(f"\n{found}\n\nfigures     " + ", ".join(map(str, found.figures)))


def monitor(options: argparse.Namespace) -> None:
    """A line for each row of the log, and monitor.png in the run folder; ends with the run or by Ctrl-C, which the run does
not notice. In a notebook: gptcore.monitor.watch."""
    with suppress(KeyboardInterrupt):
        follow(options.run, every=options.every, once=options.once)


def conclude(experiment: Experiment, options: argparse.Namespace, device) -> None:
    """Measure, print, and say what lies where."""
    found = report(experiment, figures=options.figures, device=device, progress=not options.quiet)
    print(f"\n{experiment.corpus}\n\n{found}\n")
    folder = experiment.folder
    print(f"log         {folder.log}\ncheckpoints {folder.best} (lowest validation loss), {folder.last} (to go on)")
    print("figures     " + ", ".join(map(str, found.figures)))
    print(f"more text   python -m gptcore sample {folder.path}")


def sample(options: argparse.Namespace) -> None:
    """The text streams to the console as it is written; Ctrl-C stops it. With --interactive each line that you type is the
beginning of a new document; an empty one ends the session, and Ctrl-C only the text that is being written."""
    experiment = Experiment.open(options.run)
    device = choose_device(options.device, options.precision)
    model, generator, written = experiment.model().to(device.device), torch.Generator().manual_seed(options.seed), []

    def write(prompt: str) -> None:
        pieces = sample_text(model, experiment.tokenizer, prompt, options.tokens, temperature=options.temperature,
                             top_k=options.top_k, top_p=options.top_p, generator=generator)
        try:
            for piece in chain([prompt], pieces):
                written.append(piece)
                print(piece, end="", flush=True)
        finally:
            written.append("\n")
            print()

    try:
        write(options.prompt) if not options.interactive else converse(write, options.prompt)
    finally:
        if options.out:
            with atomic_write(options.out) as temporary:
                temporary.write_text("".join(written), encoding="utf-8")


def converse(write: Callable[[str], None], prompt: str) -> None:
    """Write on from each line that is typed, until one is empty or there is no more; a first prompt counts as typed."""
    with suppress(EOFError):
        while prompt := prompt or input("> "):
            try:
                write(prompt)
            except ValueError as error:  # a character that the tokenizer does not know
                print(f"error: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                print("stopped", file=sys.stderr)
            prompt = ""


def export(options: argparse.Namespace) -> None:
    """Examples:
      python -m gptcore export runs/mine --to hf
      python -m gptcore export runs/mine --to gguf --type q8_0
    Every shape and every tokenizer goes to transformers but a few; llama.cpp runs what --preset exportable trains. What
    a program cannot express is refused, with the setting that would make it possible."""
    written = Experiment.open(options.run).export(options.to, options.out, type=options.type, licence=options.licence,
                                                  overwrite=options.overwrite)
    for path in written:
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(f"how to open it: {written[0].parent / 'README.md'}")


def tokenize(options: argparse.Namespace) -> None:
    """Examples:
      python -m gptcore tokenize --corpus my_texts/ --tokenizer bpe:2000 --out my_tokenizer.json
      python -m gptcore tokenize my_texts/ --out shards/mine
      python -m gptcore tokenize wikimedia/wikipedia:20231101.en --tokenizer bpe:32000 --out shards/wikipedia
    Shards are for texts that are too large for memory: python -m gptcore train --corpus shards/mine
    When it is stopped or killed, the same command goes on."""
    if options.source is not None:
        return make_shards(options)
    corpus = corpora.load(options.corpus, encoding=options.encoding)
    tokenizer = make_tokenizer(options.tokenizer or DEFAULTS["tokenizer"], corpus, progress=not options.quiet)
    tokens = sum(len(tokenizer.encode(text)) for text in corpus.validation)
    print(f"{corpus}\n{tokenizer}, {corpus.validation_bytes / tokens:.2f} bytes per token of the validation text")
    if options.out:
        tokenizer.save(options.out)
        print(f"saved to {options.out}; train with it: python -m gptcore train --tokenizer {options.out}")
    text = options.text if options.text is not None else corpus.validation[0][:200]
    print("|".join(tokenizer.decode([token]).replace("\n", "\\n") for token in tokenizer.encode(text)))


def make_shards(options: argparse.Namespace) -> None:
    """What tokenize does with a SOURCE."""
    if options.out is None:
        raise ValueError(f"where shall the shards of {options.source} go? Name a folder: --out shards/mine")
    source = open_source(options.source, options.column, options.split, options.encoding)
    progress, name = not options.quiet, options.tokenizer
    refuse_foreign(options.out)  # before a tokenizer is trained in vain
    if name is None:  # a folder that was begun has its tokenizer already
        name = str(options.out / TOKENIZER) if is_shards(options.out) else DEFAULTS["tokenizer"]
    learned_from = [alphabet(source)] if name == "characters" else beginning(source) if name.startswith("bpe:") else []
    tokenizer = make_tokenizer(name, corpora.Corpus(source.name, "its beginning", learned_from, []), progress)
    shards = write_shards(source, options.out, tokenizer, processes=options.processes, progress=progress)
    left_out = shards.index["left_out"]
    print(f"{shards}{f'; {left_out:,} blank documents left out' * bool(left_out)}\n{shards.tokenizer}, "
          f"{shards.index['bytes'] / shards.index['tokens']:.2f} bytes per token\n"
          f"train on it: python -m gptcore train --corpus {options.out}")


def info(options: argparse.Namespace) -> None:
    """Sizes of presets count their own vocabulary; train replaces it by the tokenizer's. With small models a card mostly
waits for its orders: the published runs of such models reached 1 to 10 % of its peak."""
    if options.preset:
        print(planning.details(options.preset, options.batch_size, options.utilisation))
        return
    for name, value in environment_report(choose_device(options.device, options.precision)).items():
        print(f"{name:12} {value}")
    print("\npreset            parameters  layers  heads  width  block  vocabulary")
    for name, config in PRESETS.items():
        print(f"{name:16} {sum(count_parameters(config).values()):>11,} {config.n_layer:>7} {config.n_head:>6} "
              f"{config.n_embd:>6} {config.block_size:>6} {config.vocab_size:>11,}")
    print(f"\n{planning.overview(options.utilisation)}")
    print("\ncorpora: " + ", ".join(corpora.KNOWN) + "; or a .txt file, a folder of them, or a list of books (.csv)")


def announce(options: argparse.Namespace):
    """Choose the device and say why."""
    device = choose_device(options.device, options.precision)
    print(f"on {device}")
    return device


def leave(code: int) -> None:
    """End this process. One of several ends at once: gloo's threads, now and then, abort a Python that takes itself down.

    That is behind the last line of the program, with all files written, and torchrun would call the whole run a failure.
    """
    if Processes.started().count > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
