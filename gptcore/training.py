"""One training loop for CPU and GPU, one process or several, whose killed runs go on exactly.

Built by hand in notebooks/05_gpt.ipynb and 09_training_at_scale.ipynb.
"""

import hashlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

import gptcore
from gptcore.batches import IGNORE, Batches, validation_windows
from gptcore.checkpoint import State, load_checkpoint, save_checkpoint
from gptcore.device import Device, choose_device, environment_report
from gptcore.distributed import ALONE, Lost, Processes
from gptcore.evaluation import cross_entropy, shared_window_loss
from gptcore.gpt import GPT, plain_name, save_weights
from gptcore.runs import RunFolder
from gptcore.schedule import TrainConfig, learning_rate
from gptcore.shards import Stream

__all__ = ["Diverged", "Interrupted", "TrainConfig", "accumulate_gradients", "decay_groups", "learning_rate",
           "make_optimizers", "recomputing", "train"]

MOST_SKIPPED = 25  # fp16 steps in a row: the scale has fallen from 65,536 to 0.002, so it is not what is wrong
Documents = Sequence[Integer[np.ndarray, "_"]]
MicroBatches = Sequence[tuple[Int64[Tensor, "_ _"], Int64[Tensor, "_ _"]]]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the step was finished and the checkpoint written."""


class Diverged(RuntimeError):
    """A loss or a gradient that is no finite number; the last checkpoint is from before it."""


def train(
    model: GPT,
    train_documents: Documents | Stream,
    validation_documents: Documents,
    config: TrainConfig,
    run_folder: str | Path,
    *,
    device: Device | None = None,
    processes: Processes = ALONE,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    bytes_per_token: float | None = None,
    after_evaluation: Callable[[nn.Module, State], None] | None = None,
) -> State:
    """Train `model` in place, with its log and checkpoints in `run_folder`, and return where the run ended.

    With `resume` the run in that folder goes on as if it had never stopped: on the same machine, device and number of
    threads it ends with the same weights bit for bit and the same log but for tokens_per_second. Where nothing was
    saved yet it starts from the beginning, so give it the model it began with. Settings and texts must be the old ones;
    only `steps` may change, and not under "cosine", whose curve depends on it. So may what changes nothing but rounding
    (and dropout): `compile`, `recompute`, device and number format, and the number of processes.

    Several `processes` share a step's micro-batches, which must split evenly: the same windows, so the same run as one
    process makes, up to rounding. Process 0 alone writes; each gets the same State.

    `bytes_per_token` puts bits per byte into the progress bar; `after_evaluation(model, state)` is called whenever the
    model has been evaluated, say to keep its weights. torch's random state is left as it was found. Raises
    FileExistsError for a folder with a run in it (unless resume or overwrite), ValueError for changed settings or a
    damaged checkpoint, Diverged, Interrupted after Ctrl-C or SIGTERM (a second one stops at once), Lost when another
    process is gone, OSError when the disk is full.
    """
    run = Run(model, train_documents, validation_documents, config, RunFolder(run_folder), device or choose_device(),
              processes)
    place = run.device.device
    switches = recomputing(model.blocks) if config.recompute else nullcontext()
    with torch.random.fork_rng([place] if place.type == "cuda" else []), StopSignals(patient=processes.count > 1) as stop, \
            run.explaining(), switches:
        if not (resume and run.restore()):
            run.begin(overwrite=overwrite or resume)
        shown = progress and processes.first
        with tqdm(total=config.steps, initial=run.state.step, unit="step", disable=not shown) as bar:
            while run.state.step < config.steps:
                if processes.any(bool(stop.came)):  # asked together, so that all stop after the same step
                    run.save()
                    raise Interrupted(f"stopped by {stop.came or 'another process'} after step {run.state.step} of "
                                      f"{config.steps}, and saved. To go on: {run.folder.how_to_resume}")
                loss = run.step()
                bits = f", {loss / math.log(2) / bytes_per_token:.3f} bits per byte" if bytes_per_token else ""
                bar.set_postfix_str(f"loss {loss:.3f}{bits}, {run.speed:,.0f} tokens/s", refresh=False)
                bar.update()
                if run.state.step % config.eval_every == 0 or run.state.step == config.steps:
                    run.evaluate()
                    if after_evaluation:
                        after_evaluation(model, run.state)
    return run.state


def accumulate_gradients(
    model: nn.Module,
    micro_batches: MicroBatches,
    device: Device,
    scaler: torch.amp.GradScaler | None = None,
    processes: Processes = ALONE,
) -> tuple[Float[Tensor, ""], int]:
    """Add to .grad the gradient of the mean loss over all targets of the micro-batches; return both loss and count.

    One mean over all targets, as if they were one batch: a mean of the micro-batches' means would give a target more
    weight where padding leaves few beside it. Several processes, each with its own micro-batches and a model from
    `Processes.wrap`, get the gradient, loss and count of all, and add up their gradients once, after the last of them.
    """
    count = int(processes.sum(sum((targets != IGNORE).sum() for _, targets in micro_batches)))
    losses = []
    for number, (inputs, targets) in enumerate(micro_batches, start=1):
        with model.no_sync() if processes.count > 1 and number < len(micro_batches) else nullcontext():
            with device.autocast():
                logits = model(inputs.to(device.device))
            loss = cross_entropy(logits, targets.to(device.device)).sum() / count
            # DistributedDataParallel takes the mean over the processes, and a sum is wanted.
            scaled = loss * processes.count
            (scaler.scale(scaled) if scaler else scaled).backward()
        losses.append(loss.detach())
    return processes.sum(torch.stack(losses).sum()), count


@contextmanager
def recomputing(blocks: nn.ModuleList) -> Iterator[None]:
    """Let each block keep its input alone for the backward pass, which computes the rest once more (inside a `with`).

    Dropout falls as it fell the first time: each block's random state is kept, too.
    """
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # the instance's, over its class's
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return what moves the parameters: AdamW alone, or Muon for the matrices of the blocks and AdamW for the rest.

    Muon moves a matrix by the same length in all its directions, where AdamW follows the few that have large gradients
    (https://kellerjordan.github.io/posts/muon). Its steps are scaled to the size of AdamW's, so that both share one rate
    (Liu et al., "Muon is scalable for LLM training", 2025, section 2.2).
    """
    groups = decay_groups(model, config.weight_decay)
    muon = []
    if config.optimizer == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"optimizer='muon' needs torch 2.9 or newer, and this is {torch.__version__}; use 'adamw'")
        matrices = [p for name, p in model.named_parameters() if plain_name(name).startswith("blocks.") and p.dim() == 2]
        muon = [torch.optim.Muon(matrices, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")]
        groups[0]["params"] = [p for p in groups[0]["params"] if not any(p is matrix for matrix in matrices)]
    # On a GPU one kernel moves all parameters; on a CPU, where a step's time goes elsewhere, results stay as they were.
    fused = all(p.is_cuda for p in model.parameters())
    return [torch.optim.AdamW(groups, betas=config.betas, fused=fused or None), *muon]


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split the parameters for AdamW: two dimensions or more decay (embeddings too), biases and norms do not.

    >>> [[tuple(p.shape) for p in group["params"]] for group in decay_groups(nn.Linear(3, 2), 0.1)]
    [[(2, 3)], [(2,)]]
    """
    parameters = list(model.parameters())
    return [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]


class Run:
    """A run between two steps: what `train` moves forward."""

    def __init__(self, model: GPT, train_documents: Documents | Stream, validation_documents: Documents, config: TrainConfig,
                 folder: RunFolder, device: Device, processes: Processes = ALONE):
        processes.refuse_uneven(config.accumulation)
        self.model, self.config, self.folder, self.device = model.to(device.device), config, folder, device
        self.processes, self.learner = processes, processes.wrap(self.model)  # the second is what steps pass through
        if config.compile:
            self.learner = torch.compile(self.learner)
        block_size = model.config.block_size
        self.batches = Batches(train_documents, block_size, config.batch_size, config.seed)
        self.windows = validation_windows(validation_documents, block_size).thin(config.eval_windows)
        self.optimizers = make_optimizers(model, config)
        self.scaler = torch.amp.GradScaler(device.device.type, enabled=device.needs_scaler)
        self.state = State()
        texts = fingerprint(train_documents, validation_documents)
        self.settings = {"model": model.config.to_dict(), "train": config.to_dict(), "texts": {"sha256": texts}}
        self.seconds, self.timed_tokens = 0.0, 0  # since the last row, evaluating and saving left out

    @property
    def speed(self) -> float:
        """Tokens per second."""
        return self.timed_tokens / self.seconds if self.seconds else math.nan

    def begin(self, overwrite: bool) -> None:
        """Start from the beginning, with the evaluation of step 0."""
        self.processes.on_first(lambda: self.folder.empty(overwrite))
        self.write_config()
        torch.manual_seed(self.config.seed)
        self.model.train()
        self.evaluate()

    def restore(self) -> bool:
        """Go back to the last checkpoint and cut the log to it; return False when there is none."""
        self.processes.on_first(self.folder.sweep)
        if not self.processes.any(self.folder.last.exists()):  # asked together, before process 0 may write one
            self.processes.on_first(self.folder.refuse_without_checkpoint)
            return False
        checkpoint = load_checkpoint(self.folder.last)
        checkpoint.refuse_changes(self.settings)
        checkpoint.restore(self.model, self.optimizers)
        self.state = checkpoint.state
        if self.scaler.is_enabled() and self.state.scaler:
            self.scaler.load_state_dict(self.state.scaler)
        self.processes.on_first(lambda: self.folder.cut_log(self.state.step))
        self.write_config()
        self.model.train()
        return True

    def step(self) -> float:
        """Take one optimizer step and return its loss."""
        started, state = time.perf_counter(), self.state
        rate = learning_rate(state.step, self.config, state.reduction)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.processes.reseed(self.config.seed, state.step)
        micro_batches = [self.batches.batch(state.step, micro) for micro in self.processes.share(self.config.accumulation)]
        mean, count = accumulate_gradients(self.learner, micro_batches, self.device, self.scaler, self.processes)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)  # before clipping, which would otherwise measure scaled gradients
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf).item()
        loss = mean.item()
        if math.isfinite(loss) and math.isfinite(norm):
            state.loss_sum, state.norm_sum = state.loss_sum + loss, state.norm_sum + norm
            state.counted, state.skipped_in_a_row = state.counted + 1, 0
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
        else:
            self.skip(f"the loss is {loss} and the gradient norm {norm} in step {state.step} at rate {rate:g}")
        self.scaler.update()
        state.step += 1
        state.tokens += count
        self.timed_tokens += count
        self.seconds += time.perf_counter() - started
        return loss

    def skip(self, what: str) -> None:
        """Count a step that fp16 leaves out by design, while its scaler looks for a scale; otherwise stop the run."""
        self.state.skipped += 1
        self.state.skipped_in_a_row += 1
        if not self.scaler.is_enabled() or self.state.skipped_in_a_row >= MOST_SKIPPED:
            self.give_up(what)

    def give_up(self, what: str) -> NoReturn:
        """Raise Diverged with what to try; nothing is saved, so the last checkpoint is a good one."""
        raise Diverged(f"{what}. Train anew with a lower learning_rate, a longer warmup or a smaller clip; "
                       f"{self.folder.best} has the best weights before that, if an evaluation came first")

    def evaluate(self) -> None:
        """Write a row of the log, keep the weights if they are the best, cut the rate on a plateau, save."""
        state, config = self.state, self.config
        loss, error = shared_window_loss(self.model, self.windows, self.processes, config.batch_size, self.device)
        if not math.isfinite(loss):
            rate = learning_rate(max(state.step - 1, 0), config, state.reduction)
            self.give_up(f"the validation loss is {loss} after {state.step} steps, the last at rate {rate:g}")
        steps = state.counted or math.nan
        rate = self.optimizers[0].param_groups[0]["lr"] if state.step else math.nan
        row = (state.step, state.tokens, state.loss_sum / steps, loss, error, rate, state.norm_sum / steps, state.skipped,
               self.speed)
        self.processes.on_first(lambda: self.folder.append(*row))
        if state.judge(loss, config):  # before the checkpoint that knows of it: a kill in between repeats both
            self.processes.on_first(self.save_best)
        state.loss_sum, state.norm_sum, state.counted = 0.0, 0.0, 0
        self.seconds, self.timed_tokens = 0.0, 0
        self.save()

    def save_best(self) -> None:
        """Write the weights as the best so far."""
        with self.folder.saving():
            save_weights(self.model, self.folder.best)

    def save(self) -> None:
        """Write the checkpoint."""
        self.state.scaler = self.scaler.state_dict()

        def write() -> None:
            with self.folder.saving():
                save_checkpoint(self.folder.last, self.model, self.optimizers, self.state, self.settings)

        self.processes.on_first(write)

    def write_config(self) -> None:
        """Write config.json: the settings, and on what they ran."""
        machine = {"gptcore": gptcore.__version__} | environment_report(self.device)
        machine["processes"] = str(self.processes.count)
        self.processes.on_first(lambda: self.folder.write_config(self.settings | {"machine": machine}))

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Say what it means for the run that another process is gone, or that torch.compile does not work here."""
        try:
            with self.processes.listening():
                yield
        except Lost as error:
            raise Lost(f"{error}. What was saved before is whole. To go on, behind torchrun or without it: "
                       f"{self.folder.how_to_resume}") from error
        except RuntimeError as error:
            if not (self.config.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))):
                raise
            raise ValueError(f"torch.compile does not work here ({str(error).splitlines()[0]}). Go on without it: "
                             f"--no-compile, or compile=False") from error


class StopSignals:
    """Remember a first Ctrl-C or SIGTERM, so that the step can end; let a second one through, unless `patient`.

    Patient is who trains with others: torchrun passes on to all what one terminal or scheduler may have sent to each, and
    ends them itself when they take longer than half a minute. Only a main thread can listen.
    """

    def __init__(self, patient: bool = False) -> None:
        self.came, self.patient = "", patient
        self.listening = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopSignals":
        if self.listening:
            self.before = {number: signal.signal(number, self.take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        if self.listening:
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def take(self, number: int, _: object) -> None:
        """Handle the signal."""
        if self.came and not self.patient:
            raise KeyboardInterrupt
        if not self.came:
            self.came = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            more = "" if self.patient else "; once more stops at once"
            os.write(2, f"\n{self.came}: finishing this step and saving{more}\n".encode())  # print is not re-entrant


def fingerprint(*sets: Documents | Stream) -> str:
    """Return a hash of the encoded documents, their order and their split; of shards, by the checksum of their index."""
    digest = hashlib.sha256()
    for documents in sets:
        digest.update(len(documents).to_bytes(8, "little"))
        if isinstance(documents, Stream):
            digest.update(f"{documents.checksum} {documents.before[-1]}".encode())
            continue
        for document in documents:
            digest.update(len(document).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(document, dtype="<i8"))
    return digest.hexdigest()
