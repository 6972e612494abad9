"""What the tests of the exports share: models in which every parameter counts, tokenizers, and texts to tell them apart."""
import re
from pathlib import Path

import torch
from test_tokenizer import SAMPLE

from gptcore.gpt import GPT, GPTConfig
from gptcore.tokenizer import GPT2_PATTERN, BPETokenizer

NAMES = ["<|user|>", "[INST]"]
SHAPE = {"block_size": 24, "n_layer": 2, "n_head": 2, "n_embd": 32}


def small_tokenizer(pattern: str | None = GPT2_PATTERN) -> BPETokenizer:
    return BPETokenizer.train(SAMPLE * 2, 256 + 60 + 3, pattern, special_tokens=NAMES, progress=False)


TOKENIZER = small_tokenizer()


def lively(**changed) -> GPT:
    """A model whose parameters all differ: biases of zero and logits near zero would hide mistakes."""
    config = GPTConfig(TOKENIZER.vocab_size, **(SHAPE | changed))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def without_output_bias(model: GPT) -> GPT:
    with torch.no_grad():
        model.output.bias.zero_()
    return model


def some_ids(rows: int = 3) -> torch.Tensor:
    return torch.randint(TOKENIZER.vocab_size, (rows, SHAPE["block_size"]), generator=torch.Generator().manual_seed(1))


def code_in(readme: Path) -> str:
    """The Python that a README shows."""
    return re.search(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)[1]
