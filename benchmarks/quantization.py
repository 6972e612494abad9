"""What quantization costs: bytes, bits per byte, tokens per second, memory; beside fp32, and beside torchao.

    python benchmarks/quantization.py [--quick] [--store] [--threads 2]

Measures the stored model of the Playhouse and, where `make shakespeare` has left its run, that of Tiny
Shakespeare; a model 768 wide that has learned nothing shows the speed at that size. Losses are compared on the same
documents, speeds in rounds that run all contenders in turn, after one round that does not count; memory is what the weights
take and the most that torch allocates beside them while it writes. `--store` writes data/quantized.csv, which chapter 07
reads. With torchao (pip install torchao), its weight-only schemes on the linear layers stand beside ours. Nothing else
should run meanwhile.
"""

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch
from gpt import machine
from torch import nn
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from gptcore import corpora
from gptcore.evaluation import bits_per_byte, paired_difference, token_nats
from gptcore.files import atomic_write
from gptcore.gpt import GPT, GPTConfig, evaluating, load_weights
from gptcore.pretrained import load_pretrained
from gptcore.quantization import SCHEMES, choose_kernels, quantize, size_table
from gptcore.sampling import generate
from gptcore.tokenizer import CharTokenizer, Tokenizer, encode_document
from tools import shakespeare

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "data/quantized.csv"
WIDE = GPTConfig(vocab_size=7979, block_size=256, n_layer=4, n_head=12, n_embd=768)
BATCH = 32  # texts that are written side by side


@dataclass
class Material:
    """A model, the documents that it is measured on, and windows of its training text."""

    model: GPT
    tokenizer: Tokenizer | None = None
    documents: list[np.ndarray] | None = None
    calibration: torch.Tensor | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model, two rounds: does it run?")
    parser.add_argument("--store", action="store_true", help="write data/quantized.csv")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = {"tokens": 6, "rounds": 2} if options.quick else {"documents": 100, "tokens": 200, "rounds": 7}
    print(f"{machine()}, {options.threads} threads; load {os.getloadavg()[0]:.2f} before\n")
    if options.quick:
        models = {"32 wide": small()}
    else:
        models = {"pretrained": playhouse(size["documents"])}
        if there := tiny_shakespeare():
            models["Tiny Shakespeare"] = there
        torch.manual_seed(0)
        models["768 wide"] = Material(GPT(WIDE).eval())
    rows = [row for name, material in models.items() for row in measure(name, material, size)]
    table = pd.DataFrame(rows)
    print(show(table))
    if options.store:
        with atomic_write(FILE) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        print(f"\nwrote {FILE.name}")
    beside_torchao(next(iter(models.values())), size)
    print(f"\nLoad {os.getloadavg()[0]:.2f} after.")


def playhouse(count: int) -> Material:
    model, tokenizer = load_pretrained()
    corpus = corpora.load("playhouse")
    ids = [encode_document(tokenizer, text)[:200] for text in corpus.train[:200]]
    calibration = torch.from_numpy(np.array([row for row in ids if len(row) == 200][:64]))
    return Material(model, tokenizer, [np.array(encode_document(tokenizer, text)) for text in corpus.validation[:count]],
                    calibration)


def small() -> Material:
    """What the quick run measures: a model that has learned nothing, on two scenes by characters."""
    texts = corpora.load("playhouse").validation[:2]
    tokenizer = CharTokenizer.train(texts)
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, block_size=64, n_layer=1, n_head=2, n_embd=32)).eval()
    ids = [np.array(encode_document(tokenizer, text)) for text in texts]
    return Material(model, tokenizer, [ids[0][:100]], torch.from_numpy(ids[1][:256].reshape(4, 64)))


def tiny_shakespeare() -> Material | None:
    """The model of `make shakespeare`, on the first 20,000 tokens of its validation text; None where it is missing."""
    weights = shakespeare.RUN / "best.safetensors"
    if not weights.is_file():
        return None
    corpus = corpora.load("tinyshakespeare")
    tokenizer = shakespeare.published_tokenizer("".join([*corpus.train, *corpus.validation]))
    train, validation = shakespeare.documents(tokenizer, corpus)
    calibration = torch.from_numpy(train[0][:64 * 256].reshape(64, 256)).long()
    return Material(load_weights(weights).eval(), tokenizer, [validation[0][:20_000]], calibration)


def measure(name: str, material: Material, size: dict[str, int]) -> list[dict]:
    """One row for each scheme, with the kernel that needs no measuring; for int8 one more, with the fastest ones."""
    model, reference, models, rows = material.model, None, {}, []
    calibrated = [scheme for scheme in SCHEMES if material.documents or not SCHEMES[scheme].calibrated]
    plan = [("fp32", "none"), *[(scheme, "int8" if SCHEMES[scheme].int8_activations else "widened")
                                for scheme in calibrated], ("int8", "chosen")]
    for scheme, kernels in tqdm(plan, desc=name, unit="scheme"):
        small = model if scheme == "fp32" else quantize(model, scheme, material.calibration)
        if kernels == "chosen":
            print(f"\n{name}: microseconds per call\n{choose_kernels(small).round(1).to_string()}\n")
        row = {"model": name, "scheme": scheme, "kernels": kernels, "bytes": int(size_table(small)["total"].sum())}
        if material.documents:
            nats = nats_by_byte(small, material)
            reference = nats if reference is None else reference
            score, difference = bits_per_byte(nats), paired_difference(nats, reference)
            row |= {"bits": score.value, "error": score.error, "difference": difference.value,
                    "difference_error": difference.error}
        models[scheme, kernels] = small
        rows.append(row | {"weight_error": weight_error(model, small), "peak_mb": peak(small)})
    for column, write, texts in (("one", one_text, 1), ("many", many_texts, BATCH)):
        contenders = {key: partial(write, small, size["tokens"]) for key, small in models.items()}
        seconds = in_turn(contenders, size["rounds"])
        for row in rows:
            row[column] = texts * size["tokens"] / seconds[row["scheme"], row["kernels"]]
    return rows


def nats_by_byte(model: GPT, material: Material) -> list[np.ndarray]:
    """The nats of each document, those of a token spread evenly over its bytes; a token without bytes is left out."""
    result = []
    for ids, nats in zip(material.documents, token_nats(model, material.documents)):
        sizes = np.array([len(material.tokenizer.token_bytes(token)) for token in ids[1:]])
        result.append(np.repeat(nats / np.maximum(sizes, 1), sizes))
    return result


def weight_error(model: GPT, small: GPT) -> float:
    """The length of what rounding changed, relative to that of all quantized weights."""
    off = total = 0.0
    for name, module in model.named_modules():
        matrix = getattr(small.get_submodule(name), "matrix", None) if name else None
        if matrix is not None:
            off += (matrix.weight() - module.weight).square().sum().item()
            total += module.weight.square().sum().item()
    return (off / total) ** 0.5 if total else 0.0


def one_text(model: GPT, tokens: int) -> None:
    for _ in generate(model, [0], tokens, generator=torch.Generator().manual_seed(1)):
        pass


def many_texts(model: GPT, tokens: int) -> None:
    """Texts side by side, one row each; the draw is that of `generate`, for all rows at once."""
    random, cache = torch.Generator().manual_seed(1), model.new_cache()
    ids = torch.zeros(BATCH, 1, dtype=torch.long)
    with evaluating(model):
        for _ in range(tokens):
            sums = model(ids, cache)[:, -1].softmax(-1).cumsum(-1)                      # (B, V)
            ids = torch.searchsorted(sums, torch.rand(BATCH, 1, generator=random) * sums[:, -1:], right=True)
            ids = ids.clamp(max=sums.size(1) - 1)


def in_turn(contenders: dict, rounds: int) -> dict:
    """The median seconds of each, all of them running in each round, in the opposite order of the round before."""
    seconds: dict = {key: [] for key in contenders}
    for turn in range(-1, rounds):
        for key in list(contenders)[::1 if turn % 2 else -1]:
            start = time.perf_counter()
            contenders[key]()
            if turn >= 0:
                seconds[key].append(time.perf_counter() - start)
    return {key: statistics.median(times) for key, times in seconds.items()}


def peak(model: GPT) -> float:
    """Megabytes: the weights, and the most that torch had allocated beside them while the model wrote 8 tokens."""
    one_text(model, 8)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        one_text(model, 8)
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    levels = accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return (size_table(model)["total"].sum() + max(levels)) / 2**20


def show(table: pd.DataFrame) -> str:
    """The table in Markdown, times and bytes relative to fp32 of the same model."""
    lines = ["| model | scheme | kernels | times fewer bytes | bits per byte | more than fp32, % | error of the weights | "
             "tokens/s, one text | times fp32 | tokens/s, 32 texts | times fp32 | peak, MB |", "|" + "---|" * 12]
    for _, rows in table.groupby("model", sort=False):
        full = rows.iloc[0]
        for row in rows.itertuples():
            bits, more = ("", "") if pd.isna(getattr(row, "bits", float("nan"))) else (
                f"{row.bits:.4f} ± {row.error:.4f}",
                f"{100 * row.difference / full.bits:+.3f} ± {100 * row.difference_error / full.bits:.3f}")
            lines.append(f"| {row.model} | {row.scheme} | {row.kernels} | {full.bytes / row.bytes:.2f} | {bits} | {more} | "
                         f"{row.weight_error:.4f} | {row.one:,.0f} | {row.one / full.one:.2f} | {row.many:,.0f} | "
                         f"{row.many / full.many:.2f} | {row.peak_mb:.1f} |")
    return "\n".join(lines)


# ---------------------------------------------------------------- torchao

def plain_linears(model: GPT) -> GPT:
    """The same model with torch's own nn.Linear, and an output layer of its own: what torchao knows how to quantize."""
    model = copy.deepcopy(model)
    if model.output is None:
        model.output = nn.Linear(model.config.n_embd, model.config.vocab_size, bias=False)
        model.output.weight = nn.Parameter(model.token_embedding.weight.detach().clone())
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
            plain.load_state_dict(module.state_dict())
            model.set_submodule(name, plain)
    model.config = GPTConfig(**{**model.config.to_dict(), "tied": False})
    return model.eval()


def beside_torchao(material: Material, size: dict[str, int]) -> None:
    """Both quantize the linear layers and the output layer; embeddings stay in fp32."""
    if not find_spec("torchao"):
        print("\ntorchao is not installed; for the comparison: pip install torchao")
        return
    import torchao
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, quantize_

    base = plain_linears(material.model)
    linears = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)]
    configs: dict[str, Callable] = {
        "int8": Int8WeightOnlyConfig,
        "int4": lambda: IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32))}
    models, losses, sizes = {}, {}, {}
    for scheme, config in configs.items():
        models[scheme, "gptcore"] = ours = quantize(base, dict.fromkeys(linears, scheme))
        models[scheme, "torchao"] = theirs = copy.deepcopy(base)
        quantize_(theirs, config())
        if scheme == "int8":
            models[scheme, "gptcore, chosen kernels"] = fast = copy.deepcopy(ours)
            choose_kernels(fast)
        sizes[scheme, "gptcore"] = int(size_table(ours).loc[linears, ["codes", "scales"]].to_numpy().sum())
        sizes[scheme, "torchao"] = sum(bytes_of(theirs.get_submodule(name).weight) for name in linears)
    full = nats_by_byte(base, material)
    for key, model in models.items():
        losses[key] = paired_difference(nats_by_byte(model, material), full)
    seconds = in_turn({key: partial(one_text, model, size["tokens"]) for key, model in models.items()}, size["rounds"])
    print(f"\ntorchao {torchao.__version__}, linear layers and output layer, embeddings in fp32\n\n"
          "| scheme | library | bytes of these layers | more bits per byte than fp32, % | tokens/s, one text |\n"
          "|---|---|---|---|---|")
    bits = bits_per_byte(full).value
    for (scheme, library), model_seconds in seconds.items():
        count = sizes.get((scheme, library), sizes[scheme, "gptcore"])
        score = losses[scheme, library]
        print(f"| {scheme} | {library} | {count:,} | {100 * score.value / bits:+.3f} ± {100 * score.error / bits:.3f} | "
              f"{size['tokens'] / model_seconds:,.0f} |")


def bytes_of(tensor: torch.Tensor) -> int:
    """The bytes of a tensor, or of those that it is made of."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(bytes_of(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0]
                   if getattr(tensor, name) is not None)
    return tensor.numel() * tensor.element_size()


if __name__ == "__main__":
    main()
