"""Several processes that train one model, started by torchrun: what each does and what they tell each other.

    torchrun --nproc-per-node 2 -m gptcore train --accumulation 2 ...

Every process holds the whole model, computes its share of a step's micro-batches and adds its gradients to those of the
others (`DistributedDataParallel`), so all take the same step. Process 0 alone writes files and shows progress; the others
read the run folder, so on several machines it lies where all can see it.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gptcore.device import Device, choose_device

__all__ = ["ALONE", "Elsewhere", "Lost", "Processes"]

T = TypeVar("T")
# How long a process waits for another one that is still there, say for process 0 to train a tokenizer. One that has ended is
# noticed at once: its connections break, and torchrun stops the rest.
PATIENCE = timedelta(hours=12)


class Lost(RuntimeError):
    """Another process of the run was killed, or ended with an error of its own."""


class Elsewhere(RuntimeError):
    """Process 0 failed at what it does for all, and has said why."""


@dataclass(frozen=True)
class Processes:
    """The number of this process and how many train together; by default one that is alone, for which nothing changes.

    >>> Processes().share(4), Processes(rank=1, count=2).share(6)
    (range(0, 4), range(1, 6, 2))
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def started(cls) -> "Processes":
        """Read from the environment what torchrun says of this process; without torchrun it is alone."""
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if dist.is_torchelastic_launched() else cls()

    @property
    def first(self) -> bool:
        """Is this the one that writes files?"""
        return self.rank == 0

    def choose_device(self, name: str, precision: str) -> Device:
        """`device.choose_device`, where "cuda" is a GPU that no other process of this machine has."""
        if self.count > 1 and name != "cpu" and (name == "mps" or ":" in name):
            raise ValueError(f"--device {name} names one device for {self.count} processes; use cpu, or cuda for a GPU each")
        if self.count > 1 and name != "cpu" and torch.cuda.is_available():
            here, number = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
            if number >= here:
                raise ValueError(f"process {number} finds no GPU of its own, since torch sees {here} here: set "
                                 f"--nproc-per-node {here}, or use --device cpu")
            torch.cuda.set_device(number)
        return choose_device(name, precision)

    @contextmanager
    def joined(self, device: Device) -> Iterator[None]:
        """Be connected with the others inside a `with`; what is small travels by gloo, gradients on GPUs by NCCL."""
        if self.count == 1:
            yield
            return
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.device.type == "cuda" else "gloo", timeout=PATIENCE)
        try:
            yield
        except BaseException:
            # torchrun is about to end this process by SIGTERM, because another one failed: say first what happened.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise
        dist.destroy_process_group()

    def refuse_uneven(self, accumulation: int) -> None:
        """Raise ValueError when the micro-batches of a step do not split evenly."""
        if accumulation % self.count:
            more = -(-accumulation // self.count) * self.count
            raise ValueError(f"accumulation={accumulation} micro-batches do not split evenly over {self.count} processes: "
                             f"set --accumulation {more}, and --batch-size so that a step reads accumulation * batch_size "
                             "windows, however many processes share them; or start another number of processes")

    def share(self, total: int) -> range:
        """Which of `total` things are this process's: every count-th, from its own number on."""
        return range(self.rank, total, self.count)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Let backward passes add up over all processes; the model itself stays as it is."""
        return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True) if self.count > 1 else model

    def sum(self, x: Tensor) -> Tensor:
        """Add up a small tensor over all processes, in float64."""
        if self.count == 1:
            return x
        total = x.detach().to("cpu", torch.float64, copy=True)
        with self.listening():
            dist.all_reduce(total)
        return total.to(x.device, x.dtype)

    def any(self, here: bool) -> bool:
        """Is it so in at least one of them? All get the same answer."""
        return bool(self.sum(torch.tensor(float(here))))

    def on_first(self, do: Callable[[], T]) -> T | None:
        """Call `do` in process 0 while the others wait; return its result there and None elsewhere.

        Where it raises, process 0 raises that and the others Elsewhere: nobody goes on alone.
        """
        result = None
        if self.first:
            try:
                result = do()
            except BaseException:
                self.any(True)
                raise
        if self.any(False):
            raise Elsewhere("process 0 stopped; its own message says why")
        return result

    def reseed(self, seed: int, step: int) -> None:
        """Draw dropout anew in each process: from (seed, step, rank) where rank > 0; process 0 goes on with its stream.

        So a checkpoint needs no random state but that of process 0.
        """
        if not self.first:
            torch.manual_seed(int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)[0] >> 1))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn what gloo and NCCL raise, when a connection breaks, into Lost."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise Lost(f"process {self.rank} of {self.count} lost another one, which was killed or ended with a message of "
                       "its own") from error


ALONE = Processes()
