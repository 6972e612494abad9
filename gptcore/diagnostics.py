"""What goes on inside a model: activations, units that never fire, gradients, updates, the stream, attention, memory.

Built by hand in notebooks/06_diagnostics.ipynb. `record` watches a model through hooks; the tape that it yields answers in
tables, and each table has its picture in `gptcore.plots`.
"""

import copy
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from gptcore.attention import CausalSelfAttention
from gptcore.batches import IGNORE, validation_windows
from gptcore.evaluation import cross_entropy
from gptcore.gpt import GPTConfig, count_parameters, evaluating, plain_name
from gptcore.schedule import TrainConfig
from gptcore.training import make_optimizers

__all__ = ["KINDS", "Statistics", "Tape", "attention_entropy", "firing_rates", "measure_memory", "predict_memory", "record",
           "unit_kinds"]

KINDS = ("activations", "gradients", "stream", "attention", "updates")
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)
SPARSE = 0.01  # a unit that fires at fewer positions than one in a hundred


class Statistics:
    """Mean, spread, share of zeros and a histogram of all numbers added so far, however many there were.

    The first numbers lay the bins, evenly over five times their root mean square to both sides of 0 (over 1, if all of them
    are 0); what lies further out is counted in the outermost bin.

    >>> seen = Statistics(bins=4)
    >>> seen.add(torch.tensor([0.0, 3.0]))
    >>> seen.add(torch.tensor([0.0, 1.0]))
    >>> seen.count, seen.mean, seen.zeros
    (4, 1.0, 0.5)
    """

    def __init__(self, bins: int = 200) -> None:
        self.count, self.sum, self.squares, self.zero, self.reach = 0, 0.0, 0.0, 0, 0.0
        self.bins = torch.zeros(bins, dtype=torch.float64)

    def add(self, x: Float[Tensor, "*shape"]) -> None:
        """Count the numbers of a tensor in."""
        x = x.detach().double().flatten()                                               # (N)
        self.count += len(x)
        self.sum += x.sum().item()
        self.squares += x.square().sum().item()
        self.zero += int((x == 0).sum())
        self.reach = self.reach or 5 * math.sqrt(self.squares / self.count) or 1.0
        self.bins += x.clamp(-self.reach, self.reach).histc(len(self.bins), -self.reach, self.reach).cpu()

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else math.nan

    @property
    def std(self) -> float:
        return math.sqrt(max(self.squares / self.count - self.mean**2, 0.0)) if self.count else math.nan

    @property
    def zeros(self) -> float:
        """The share of numbers that are exactly 0."""
        return self.zero / self.count if self.count else math.nan

    def histogram(self) -> pd.DataFrame:
        """The middle of each bin (`value`), and which share of the numbers lies in it, per unit of the axis (`density`)."""
        edges = np.linspace(-self.reach, self.reach, len(self.bins) + 1)
        density = self.bins.numpy() / self.count / (edges[1] - edges[0])
        return pd.DataFrame({"value": (edges[1:] + edges[:-1]) / 2, "density": density})


class Tape:
    """What `record` has seen. Each method makes a table of it, the layers in the order of the model."""

    def __init__(self) -> None:
        self.running = True
        self.outputs: dict[str, Statistics] = {}    # by layer
        self.fired: dict[str, Tensor] = {}          # by layer: at how many positions each unit got more than 0
        self.positions: dict[str, int] = {}
        self.backward: dict[str, dict[str, Statistics]] = {"output": {}, "input": {}}  # by side and layer
        self.places: dict[str, Tensor] = {}         # along the stream: a count and three sums
        self.stream_before: Tensor | None = None
        self.heads: dict[str, tuple[int, Tensor]] = {}
        self.moved: list[tuple[int, str, float, float, float]] = []

    def activations(self) -> pd.DataFrame:
        """What comes out of each activation function: how many numbers, their mean, their std, and the share of zeros."""
        return table({name: summary(seen) for name, seen in self.outputs.items()}, "layer")

    def gradients(self) -> pd.DataFrame:
        """The gradient of the loss with respect to the output of each activation function, and to its input (`side`).

        Only the second knows the slope of the function itself. At a unit that never fires the first may be as large as
        anywhere; the second is 0.
        """
        order = list(self.backward["output"] | self.backward["input"])[::-1]  # the way back comes by the last layer first
        return table({(name, side): summary(seen[name]) for name in order for side, seen in self.backward.items()
                      if name in seen}, "layer", "side")

    def firing(self) -> pd.DataFrame:
        """The firing rate of each unit: the share of positions at which more than 0 goes into the activation function.

        Positions that only fill up a batch count as well; `firing_rates` has none.
        """
        return table({(name, unit): {"rate": rate} for name, fired in self.fired.items()
                      for unit, rate in enumerate((fired.double() / self.positions[name]).tolist())}, "layer", "unit")

    def stream(self) -> pd.DataFrame:
        """The residual stream by depth: its `size`, the size of what was `added`, its `cosine` with the place before.

        A size is the root mean square over the channels; all three are means over the positions.
        """
        return table({name: dict(zip(("size", "added", "cosine"), (sums[1:] / sums[0]).tolist()))
                      for name, sums in self.places.items()}, "place")

    def attention(self) -> pd.DataFrame:
        """The entropy of each head's weights in bits, the mean over the positions; one column for each head."""
        rows = {name: dict(enumerate((sums / count).tolist())) for name, (count, sums) in self.heads.items()}
        return table(rows, "layer").rename_axis(columns="head")

    def updates(self) -> pd.DataFrame:
        """One row for each step and parameter: the norms of its gradient, of itself, and of its update.

        The gradient is what the optimizer got, so after clipping; `ratio` is the update over the weight before it.
        """
        rows = table({(step, name): {"gradient": gradient, "weight": weight, "update": update}
                      for step, name, gradient, weight, update in self.moved}, "step", "parameter").reset_index()
        return rows.assign(ratio=rows["update"] / rows["weight"])  # infinite for what begins at 0, as biases do

    def histograms(self, of: str = "activations") -> dict[str, pd.DataFrame]:
        """By layer: a histogram of the `activations`, or of the gradients by `output` or by `input`."""
        seen = self.outputs if of == "activations" else dict(reversed(self.backward[of].items()))  # as in `gradients`
        return {name: statistics.histogram() for name, statistics in seen.items()}


def summary(seen: Statistics) -> dict[str, float | int]:
    return {"count": seen.count, "mean": seen.mean, "std": seen.std, "zeros": seen.zeros}


def table(rows: Mapping, *index: str) -> pd.DataFrame:
    """A table of rows by key, or an error that says why there is none."""
    if not rows:
        raise ValueError("nothing was recorded: call the model inside the `with`, for gradients backward as well, and say "
                         f"what you want in record(model, kinds): {', '.join(KINDS)}")
    keys = pd.MultiIndex.from_tuples(rows, names=index) if len(index) > 1 else pd.Index(rows, name=index[0])
    return pd.DataFrame(list(rows.values()), index=keys)


@contextmanager
def record(model: nn.Module, kinds: str | Collection[str] = "activations", every: int = 1) -> Iterator[Tape]:
    """Watch a model while it computes, in training or not: yield a `Tape`, and take all hooks off at the end, come what may.

    Kinds: `activations` and `gradients` of the activation functions (layers such as nn.ReLU, or named `activation`), the
    residual `stream` (of a GPT), the `attention` (of texts read at once, not through a cache), and the `updates` in every
    `every`-th step of whatever optimizer moves the model. Memory does not grow with what is seen, but for the rows of
    `updates`.

    A compiled model has no place for hooks: it runs uncompiled inside the `with`, after a warning. Raises ValueError for an
    unknown kind, or one for which the model has no layers.

    >>> with record(model := nn.Sequential(nn.Linear(2, 3), nn.ReLU())) as tape:
    ...     _ = model(torch.zeros(5, 2))
    >>> len(tape.firing())
    3
    """
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if every < 1 or not kinds or kinds - set(KINDS):
        raise ValueError(f"kinds={sorted(kinds)}, every={every}: kinds are {', '.join(KINDS)}, and every is at least 1")
    layers = {plain_name(name): layer for name, layer in model.named_modules()}
    tape = Tape()
    with ExitStack() as hooks:
        hooks.callback(setattr, tape, "running", False)
        if any(hasattr(layer, "_orig_mod") for layer in layers.values()):
            warnings.warn("a compiled model has no place for hooks: it runs uncompiled while it is recorded", stacklevel=3)
            hooks.enter_context(torch.compiler.set_stance("force_eager"))
        for kind in KINDS:
            if kind in kinds:
                for handle in WATCH[kind](tape, model, layers, every):
                    hooks.callback(handle.remove)
        yield tape


def watch_activations(tape: Tape, model: nn.Module, layers: Mapping[str, nn.Module], every: int) -> Iterator:
    def see(name: str, layer: nn.Module, args: tuple, output: Tensor) -> None:
        tape.outputs.setdefault(name, Statistics()).add(output)
        fired = (args[0].detach() > 0).flatten(0, -2).sum(dim=0)                        # (units)
        tape.fired[name] = tape.fired.get(name, 0) + fired
        tape.positions[name] = tape.positions.get(name, 0) + args[0].numel() // len(fired)

    for name, layer in activation_layers(layers).items():
        yield layer.register_forward_hook(partial(see, name))


def watch_gradients(tape: Tape, model: nn.Module, layers: Mapping[str, nn.Module], every: int) -> Iterator:
    def keep(side: str, name: str, gradient: Tensor) -> None:
        if tape.running:  # a graph may outlive the `with`
            tape.backward[side].setdefault(name, Statistics()).add(gradient)

    def see(name: str, layer: nn.Module, args: tuple, output: Tensor) -> None:
        for side, x in (("output", output), ("input", args[0])):
            if x.requires_grad:
                x.register_hook(partial(keep, side, name))

    for name, layer in activation_layers(layers).items():
        yield layer.register_forward_hook(partial(see, name))


def activation_layers(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The activation functions, where they are layers."""
    found = {name: layer for name, layer in layers.items() if isinstance(layer, ACTIVATIONS) or name.endswith("activation")}
    if not found:
        raise ValueError("the model has no layer such as nn.ReLU, and none named `activation`; what a function like F.relu "
                         "computes is not seen from outside, so make it a layer")
    return found


def watch_stream(tape: Tape, model: nn.Module, layers: Mapping[str, nn.Module], every: int) -> Iterator:
    def see(name: str, layer: nn.Module, args: tuple) -> None:
        x, before = args[0].detach(), tape.stream_before                                # (B, T, C)
        before = x if name == "embeddings" else before
        at_each = [size(x), size(x - before), nn.functional.cosine_similarity(x, before, dim=-1)]   # three of (B, T)
        sums = torch.stack([torch.ones_like(at_each[0]), *at_each]).double().sum(dim=(1, 2)).cpu()
        tape.places[name] = tape.places.get(name, 0) + sums
        tape.stream_before = x

    norms = [name for name in layers if name.endswith(("norm_1", "norm_2", "final_norm"))]
    if "final_norm" not in norms or len(norms) < 3:
        raise ValueError("the stream is recorded where the norms of a gptcore GPT read it, and this model has none of them")
    places = ["embeddings", *(name.replace("norm_1", "attention").replace("norm_2", "mlp") for name in norms[:-1])]
    for place, name in zip(places, norms):
        yield layers[name].register_forward_pre_hook(partial(see, place))


def size(x: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """The root mean square over the channels."""
    return x.square().mean(dim=-1).sqrt()


def watch_attention(tape: Tape, model: nn.Module, layers: Mapping[str, nn.Module], every: int) -> Iterator:
    def see(name: str, layer: CausalSelfAttention, args: tuple) -> None:
        x, cache = (*args, None)[:2]
        if cache is None:
            with torch.no_grad():
                entropy = attention_entropy(layer.weights(x.detach()))
            count, sums = tape.heads.get(name, (0, 0))
            tape.heads[name] = count + x[..., 0].numel(), sums + x[..., 0].numel() * entropy.double().cpu()

    found = {name: layer for name, layer in layers.items() if isinstance(layer, CausalSelfAttention)}
    if not found:
        raise ValueError("the model has no CausalSelfAttention of gptcore, whose weights could be read")
    for name, layer in found.items():
        yield layer.register_forward_pre_hook(partial(see, name))


def watch_updates(tape: Tape, model: nn.Module, layers: Mapping[str, nn.Module], every: int) -> Iterator:
    names = {weight: plain_name(name) for name, weight in model.named_parameters()}
    steps: dict[int, int] = {}
    kept: dict[Tensor, Tensor] = {}

    def ours(optimizer: torch.optim.Optimizer) -> list[Tensor]:
        return [weight for group in optimizer.param_groups for weight in group["params"] if weight in names]

    def before(optimizer: torch.optim.Optimizer, *_: object) -> None:
        steps[id(optimizer)] = steps.get(id(optimizer), -1) + 1
        if steps[id(optimizer)] % every == 0:
            kept.update((weight, weight.detach().clone()) for weight in ours(optimizer))

    def after(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for weight in ours(optimizer):
            if weight in kept and weight.grad is not None:
                was = kept[weight]
                norms = (x.norm().item() for x in (weight.grad, was, weight.detach() - was))
                tape.moved.append((steps[id(optimizer)], names[weight], *norms))
        kept.clear()

    yield register_optimizer_step_pre_hook(before)
    yield register_optimizer_step_post_hook(after)


WATCH = {"activations": watch_activations, "gradients": watch_gradients, "stream": watch_stream,
         "attention": watch_attention, "updates": watch_updates}


def attention_entropy(weights: Float[Tensor, "B H T S"]) -> Float[Tensor, "H"]:
    """How many bits it takes to say where a head looks: the mean entropy of its rows of weights.

    0 is one position only; log2 of how many it can see is all of them alike.

    >>> attention_entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]])[None, None]).item()
    0.5
    """
    return torch.special.entr(weights).sum(dim=-1).mean(dim=(0, 2)) / math.log(2)


def firing_rates(model: nn.Module, documents: Sequence[Integer[np.ndarray, "_"]]) -> pd.DataFrame:
    """The firing rate of each unit over all tokens of these documents: `Tape.firing`, nothing padded, without dropout.

    Take a fixed set, the validation documents say: whether a unit is dead is a question about a text.
    """
    block_size = model.config.block_size
    windows, place = validation_windows(documents, block_size, stride=block_size), next(model.parameters()).device
    with evaluating(model), record(model) as tape:
        for i in range(len(windows)):
            model(windows.rows(np.array([i]))[0].to(place))
    return tape.firing()


def unit_kinds(rates: pd.DataFrame, sparse: float = SPARSE) -> pd.DataFrame:
    """Count by layer the units that never fire (`dead`), that fire at every position (`always`), and that are `sparse`.

    >>> rates = pd.DataFrame({"rate": [0.0, 0.5, 0.002, 1.0]}, pd.MultiIndex.from_product([["0"], range(4)]))
    >>> print(unit_kinds(rates).to_string(index=False))
     units  dead  sparse  always
         4     1       1       1
    """
    rate = rates["rate"]
    kinds = {"units": rate >= 0, "dead": rate == 0, "sparse": (rate > 0) & (rate < sparse), "always": rate == 1}
    return pd.DataFrame(kinds).groupby(level=0, sort=False).sum()


def predict_memory(config: GPTConfig, batch_size: int, T: int | None = None, optimizer: str = "adamw") -> pd.Series:
    """The bytes that a training step in float32 needs, by kind, from the configuration alone.

    Four for each parameter and its gradient; eight more for AdamW's two averages, four for Muon's one. Activations are what
    the way back reads: for each position 16 C in a block (with heads as wide as C; 12 C with ReLU, which needs its result
    only, and so does the layer behind it), 2 C at the end, and V for the softmax of the scores. Explicit attention keeps
    H weights for each pair of positions, too. For `dropout` 0; what lives for a moment only is left out.

    >>> print(predict_memory(GPTConfig(100, block_size=8, n_layer=1, n_head=1, n_embd=4), batch_size=1)["activations"])
    5504
    """
    T = T or config.block_size
    C, L, inner = config.n_embd, config.n_layer, config.n_head * config.head_width
    sizes = count_parameters(config)
    parameters = sum(sizes.values())
    moved_by_muon = L * (4 * C * inner + 8 * C * C) if optimizer == "muon" else 0
    per_layer = (8 if config.activation == "relu" else 12) * C + 4 * inner
    per_layer += config.n_head * T if config.attention == "explicit" else 0
    activations = batch_size * T * (L * per_layer + 2 * C + config.vocab_size)
    return pd.Series({"weights": 4 * parameters, "gradients": 4 * parameters,
                      "optimizer state": 8 * parameters - 4 * moved_by_muon, "activations": 4 * activations, "buffers": 0})


def measure_memory(
    model: nn.Module, inputs: Int[Tensor, "B T"], targets: Int[Tensor, "B T"], config: TrainConfig
) -> pd.Series:
    """The same bytes, counted: a copy of the model takes one step, and every tensor that is kept is counted once.

    Activations are what autograd saves for the way back, without the parameters and the ids.
    """
    model = copy.deepcopy(model).train()
    optimizers = make_optimizers(model, config)
    weights = list(model.parameters())
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = cross_entropy(model(inputs), targets).sum() / (targets != IGNORE).sum()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    state = [x for optimizer in optimizers for each in optimizer.state.values() for x in each.values()
             if isinstance(x, Tensor) and x.dim()]
    others = {x.untyped_storage().data_ptr() for x in (*weights, inputs, targets)}
    activations = [x.untyped_storage().nbytes() for place, x in kept.items() if place not in others]
    return pd.Series({"weights": total(weights), "gradients": total(weight.grad for weight in weights),
                      "optimizer state": total(state), "activations": sum(activations), "buffers": total(model.buffers())})


def total(tensors: Iterator[Tensor] | Sequence[Tensor]) -> int:
    return sum(x.nbytes for x in tensors if x is not None)
