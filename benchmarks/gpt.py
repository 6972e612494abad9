"""How fast gptcore trains and generates beside transformers' GPT-2 with the same weights: one run, one Markdown table.

    python benchmarks/gpt.py [--quick] [--figure] [--threads 2]

The logits of both are compared first, and nothing is timed where they differ. Each round runs all contenders, in the
opposite order of the round before; the table shows medians, their ratios, and how far the ratio strayed in single rounds.
Without transformers gptcore is timed alone, with its cache and without. `--figure` draws figures/generation_speed.png.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from gptcore import plots
from gptcore.device import choose_device
from gptcore.evaluation import cross_entropy
from gptcore.gpt import GPT, GPTConfig
from gptcore.sampling import generate
from gptcore.training import accumulate_gradients, decay_groups

TRAINED = {  # what the course trains on two cores, and a model of the size that people train by the hour on a free GPU
    "4 layers of 128": (GPTConfig(vocab_size=4096, block_size=256, n_layer=4, n_head=4, n_embd=128), 16),
    "5 layers of 252": (GPTConfig(vocab_size=500, block_size=256, n_layer=5, n_head=6, n_embd=252), 16)}
LENGTHS, ROUNDS = [16, 32, 64, 128, 255], 7  # of what the last of them writes: 4.0 million parameters
QUICK = {"trained": {"1 layer of 8": (GPTConfig(vocab_size=65, block_size=32, n_layer=1, n_head=2, n_embd=8), 2)},
         "lengths": [4, 31], "rounds": 2}
ALIKE = 1e-5  # logits are numbers up to about 4, and the rounding of a few layers is a millionth of that
MISSING = "transformers is not installed, so gptcore is timed alone; for the comparison: pip install transformers"
Contenders = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model, two rounds: does it run?")
    parser.add_argument("--figure", action="store_true", help="draw the times of generation into figures/")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = {"trained": TRAINED, "lengths": LENGTHS, "rounds": ROUNDS} | (QUICK if options.quick else {})
    print(f"{machine()}, {options.threads} threads; load {os.getloadavg()[0]:.2f} before")
    if not find_spec("transformers"):
        print(MISSING)
    for name, (config, _) in size["trained"].items():
        compare_logits(name, config)
    print(f"Median of {size['rounds']} rounds\n\n| task | contender | tokens per second | times as long as gptcore | "
          "in single rounds |\n|---|---|---|---|---|")
    for name, (config, batch_size) in size["trained"].items():
        compare_training(f"training {name}, {batch_size} windows of {config.block_size}", config, batch_size, size["rounds"])
    ratios = [compare_generation(config, length, size["rounds"]) for length in size["lengths"]]
    if options.figure:
        print(f"\nDrawn: figures/{draw(size['lengths'], ratios).name}")
    print(f"\nLoad {os.getloadavg()[0]:.2f} after.")


# ---------------------------------------------------------------- the same numbers

def compare_logits(name: str, config: GPTConfig) -> None:
    """End the run where the two models do not compute the same."""
    if find_spec("transformers"):
        ours, ids = lively(config), some_ids(config, 2)
        with torch.no_grad():
            difference = largest_difference(ours(ids), as_transformers(ours)(ids).logits)
        print(f"Logits of {name}: {difference:.0e} apart at most")


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """How far two sets of logits are apart, or the end of the run."""
    difference = (ours - theirs).abs().max().item()
    if not difference <= ALIKE:  # not a number is no agreement either
        sys.exit(f"the logits are {difference:.1e} apart, more than {ALIKE:g}: not the same model, so nothing is timed")
    return difference


def lively(config: GPTConfig) -> GPT:
    """A model whose parameters are all different: biases of zero and logits near zero would hide mistakes."""
    torch.manual_seed(0)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def some_ids(config: GPTConfig, rows: int) -> Tensor:
    return torch.randint(config.vocab_size, (rows, config.block_size), generator=torch.Generator().manual_seed(1))


def as_transformers(model: GPT, activation: str = "gelu_new") -> nn.Module:
    """GPT2LMHeadModel with the configuration and the weights of `model`; its matrices are stored the other way round."""
    import transformers

    transformers.logging.set_verbosity_error()
    c = model.config
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=c.vocab_size, n_positions=c.block_size, n_embd=c.n_embd, n_layer=c.n_layer, n_head=c.n_head,
        activation_function=activation, resid_pdrop=c.dropout, embd_pdrop=c.dropout, attn_pdrop=c.dropout,
        bos_token_id=None, eos_token_id=None, pad_token_id=0))
    names = {"token_embedding": "wte", "position_embedding": "wpe", "final_norm": "ln_f", "blocks": "h", "norm_1": "ln_1",
             "norm_2": "ln_2", "attention": "attn", "query_key_value": "c_attn", "projection": "c_proj", "expand": "c_fc",
             "contract": "c_proj"}
    weights = {"transformer." + ".".join(names.get(part, part) for part in name.split(".")):
               weight.T if weight.dim() == 2 and name.startswith("blocks") else weight
               for name, weight in model.state_dict().items()}
    theirs.load_state_dict(weights | {"lm_head.weight": model.token_embedding.weight})
    return theirs.eval()


# ---------------------------------------------------------------- the contenders

def compare_training(task: str, config: GPTConfig, batch_size: int, rounds: int) -> None:
    """Whole steps: forward, loss, backward, clipping, AdamW. Nobody pays for drawing the windows."""
    ids = torch.cat([some_ids(config, batch_size), torch.zeros(batch_size, 1, dtype=torch.long)], dim=1)
    inputs, targets = ids[:, :-1], ids[:, 1:].contiguous()
    device = choose_device("cpu")
    ours = lively(config)
    contenders: Contenders = {"gptcore": stepper(ours, lambda: accumulate_gradients(ours, [(inputs, targets)], device))}
    if find_spec("transformers"):
        def add(name: str, activation: str, loss: Callable[[nn.Module], Tensor]) -> None:
            theirs = as_transformers(lively(config), activation).train()
            contenders[name] = stepper(theirs, lambda: loss(theirs).backward())

        def own(theirs: nn.Module) -> Tensor:
            return theirs(inputs, labels=inputs, use_cache=False).loss

        add("transformers", "gelu_new", own)
        add("transformers, our loss", "gelu_new",
            lambda theirs: cross_entropy(theirs(inputs, use_cache=False).logits, targets).mean())
        add("transformers, fused GELU", "gelu_pytorch_tanh", own)
    show(task, race(contenders, rounds), inputs.numel())


def stepper(model: nn.Module, add_gradients: Callable[[], object]) -> Callable[[], None]:
    """One step of training, with the same optimizer for everybody."""
    optimizer = torch.optim.AdamW(decay_groups(model, 0.1), lr=1e-4, betas=(0.9, 0.99))

    def step() -> None:
        optimizer.zero_grad()
        add_gradients()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def compare_generation(config: GPTConfig, length: int, rounds: int) -> dict[str, float]:
    """Always the most likely token, from one token on. Who writes other ids is out of the race."""
    model = lively(config)
    contenders: Contenders = {
        "gptcore": lambda: list(generate(model, [1], length, temperature=0)),
        "gptcore, no cache": lambda: list(generate(model, [1], length, temperature=0, use_cache=False))}
    if find_spec("transformers"):
        theirs, prompt = as_transformers(model), torch.tensor([[1]])
        contenders["transformers"] = lambda: theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=length, do_sample=False)[0, 1:].tolist()
    refuse_other_ids({name: write() for name, write in contenders.items()})
    seconds = race(contenders, rounds)
    show(f"generating {length} tokens", seconds, length)
    return {name: ratio(seconds, name) for name in contenders}


def refuse_other_ids(written: dict[str, list[int]]) -> None:
    for name, ids in written.items():
        if ids != written["gptcore"]:
            sys.exit(f"{name} writes other ids than gptcore, so nothing is timed")


def race(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender, round by round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(rounds + 1):
        for name in order:
            start = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
        order.reverse()
    return {name: each[1:] for name, each in seconds.items()}


def ratio(seconds: dict[str, list[float]], name: str) -> float:
    return statistics.median(seconds[name]) / statistics.median(seconds["gptcore"])


def show(task: str, seconds: dict[str, list[float]], tokens: int) -> None:
    for name, each in seconds.items():
        single = [theirs / ours for theirs, ours in zip(each, seconds["gptcore"])]
        print(f"| {task} | {name} | {tokens / statistics.median(each):,.0f} | {ratio(seconds, name):.2f} | "
              f"{min(single):.2f} to {max(single):.2f} |", flush=True)


# ---------------------------------------------------------------- figure and machine

def draw(lengths: list[int], ratios: list[dict[str, float]]) -> Path:
    """How many times as long as gptcore with its cache the others take, against the number of tokens."""
    names = {"gptcore, no cache": "gptcore\nwithout a cache", "transformers": "transformers"}
    curves = {label: [each[name] for each in ratios] for name, label in names.items() if name in ratios[0]}
    title = f"Without a cache, {lengths[-1]} tokens take {ratios[-1]['gptcore, no cache']:.1f} times as long"
    figure, axes = plots.curves(lengths, curves, title, "tokens generated", "times as long as gptcore with its cache",
                                line=("gptcore with its cache", 1.0))
    axes.set_ylim(0, None)
    axes.texts[-1].set(position=(-4, -14))  # below its line: above it transformers may run
    return plots.save(figure, plots.FIGURES / "generation_speed.png")


def machine() -> str:
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), model)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers") if find_spec(name))
    return f"Machine: {os.cpu_count()} cores of {model}, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
