"""A model and its tokenizer in Hugging Face's format, as `transformers` opens it, and back."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from gptcore.corpora import END_OF_TEXT
from gptcore.export.gpt2 import EPSILON, gpt2_weights, places, refuse_other_vocabulary, renamed
from gptcore.export.tokenizer_json import load_tokenizer_json, save_tokenizer_json
from gptcore.gpt import GPT, GPTConfig
from gptcore.tokenizer import Tokenizer

__all__ = ["from_huggingface", "save_huggingface"]

PARTS = {"token_embedding": "wte", "position_embedding": "wpe", "blocks": "h", "norm_1": "ln_1", "attention": "attn",
         "query_key_value": "c_attn", "projection": "c_proj", "norm_2": "ln_2", "expand": "c_fc", "contract": "c_proj",
         "final_norm": "ln_f", "output": "lm_head"}
OURS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu"}  # the first two are one formula
# What transformers takes where config.json is silent.
SILENT = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None,
          "activation_function": "gelu_new", "resid_pdrop": 0.1, "layer_norm_epsilon": EPSILON, "scale_attn_weights": True,
          "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False, "tie_word_embeddings": True}
HOW = """
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
prompt = tokenizer(tokenizer.bos_token + "Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=40)[0]))
```

The training text had `<|endoftext|>`, the bos_token, before each document, so a prompt begins with it, too."""


def save_huggingface(model: GPT, tokenizer: Tokenizer, folder: Path) -> str:
    """Write all that AutoModelForCausalLM and AutoTokenizer read. Returns how to open it.

    A GPT-2 there stores the matrices of its blocks the other way round, and a tied output layer not at all.
    """
    refuse_other_vocabulary(model, tokenizer)
    weights = {hub_name(name): turned(name, weight) for name, weight in gpt2_weights(model).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    end = tokenizer.end_of_text
    ends = {"bos_token_id": end, "eos_token_id": end}
    write(folder / "config.json", hub_config(model.config) | ends)
    # To draw from all tokens, as gptcore does, and not from the 50 likeliest.
    write(folder / "generation_config.json", {**ends, "pad_token_id": end, "do_sample": True, "top_k": 0})
    save_tokenizer_json(tokenizer, folder / "tokenizer.json")
    # Version 4 would give token_type_ids, too, and a GPT-2 adds those to the text as if they were words.
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT,
        "model_input_names": ["input_ids", "attention_mask"], "model_max_length": model.config.block_size,
        "clean_up_tokenization_spaces": False})
    return HOW


def from_huggingface(folder: str | Path) -> tuple[GPT, Tokenizer | None]:
    """The model of a folder and, where there is a tokenizer.json, the tokenizer: of an export, or of GPT-2 as published.

    What was exported comes back as it was, to the last bit and setting. Other models get a bias everywhere, as GPT-2 has;
    of their three dropouts the one behind the layers is taken. Raises ValueError for another architecture, and for
    weights that were pickled.
    """
    folder = Path(folder)
    fields = read_config(folder / "config.json")
    config = our_config(fields)
    weights = our_weights(folder, config)
    if recorded := recorded_config(fields):
        kept = {name for name, _ in places(recorded)}
        if not any(weight.any() for name, weight in weights.items() if name not in kept):  # zeros that the export put in
            config, weights = recorded, {name: weight for name, weight in weights.items() if name in kept}
    with torch.device("meta"):
        model = GPT(config)
    if not config.tied and config.bias:
        weights["output.bias"] = torch.zeros(config.vocab_size)  # for which a GPT-2 has no place
    model.load_state_dict(weights, assign=True)
    tokenizer = load_tokenizer_json(folder / "tokenizer.json") if (folder / "tokenizer.json").exists() else None
    return model, tokenizer


# ---------------------------------------------------------------- the configuration

def hub_config(config: GPTConfig) -> dict[str, Any]:
    """The fields of config.json; transformers keeps what it does not know, under "gptcore", and makes no use of it."""
    dropout = config.dropout
    return {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": config.vocab_size,
        "n_positions": config.block_size, "n_embd": config.n_embd, "n_layer": config.n_layer, "n_head": config.n_head,
        "n_inner": 4 * config.n_embd, "activation_function": {"gelu": "gelu_new", "relu": "relu"}[config.activation],
        "resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout, "layer_norm_epsilon": EPSILON,
        "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": config.tied,
        "gptcore": config.to_dict(),
    }


def our_config(fields: dict[str, Any]) -> GPTConfig:
    """Our settings for a GPT-2. Raises ValueError where it computes what our GPT cannot."""
    if fields.get("model_type") != "gpt2":
        raise ValueError(f"the model is a {fields.get('model_type')}; only a gpt2 can be read")
    possible = {"n_inner": (None, 4 * fields["n_embd"]), "activation_function": tuple(OURS),
                "layer_norm_epsilon": (EPSILON,), "scale_attn_weights": (True,),
                "scale_attn_by_inverse_layer_idx": (False,), "add_cross_attention": (False,)}
    for name, values in possible.items():
        if fields[name] not in values:
            raise ValueError(f"the model has {name}={fields[name]!r}, and gptcore's can only have "
                             f"{' or '.join(map(repr, values))}")
    return GPTConfig(
        fields["vocab_size"], fields["n_positions"], fields["n_layer"], fields["n_head"], fields["n_embd"],
        dropout=fields["resid_pdrop"], activation=OURS[fields["activation_function"]], tied=fields["tie_word_embeddings"])


def recorded_config(fields: dict[str, Any]) -> GPTConfig | None:
    """The settings that an export left in config.json, unless the others there were changed since."""
    with suppress(TypeError, ValueError):
        config = GPTConfig.from_dict(fields.get("gptcore", {}))
        if all(fields.get(name) == value for name, value in hub_config(config).items()):
            return config
    return None


def read_config(path: Path) -> dict[str, Any]:
    """The fields of config.json, with what transformers takes where it is silent."""
    try:
        return SILENT | json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} holds no model in Hugging Face's format: it has no {path.name}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); fetch it again") from None


# ---------------------------------------------------------------- the weights

def hub_name(name: str) -> str:
    """The name of one of our weights in a GPT2LMHeadModel.

    >>> hub_name("blocks.0.attention.projection.weight"), hub_name("output.weight")
    ('transformer.h.0.attn.c_proj.weight', 'lm_head.weight')
    """
    return "transformer." * (not name.startswith("output")) + renamed(name, PARTS)


def turned(name: str, weight: Tensor) -> Tensor:
    """Turn the matrices of the blocks, from (out, in) to (in, out) or back."""
    return weight.T.contiguous() if weight.ndim == 2 and name.startswith("blocks") else weight.contiguous()


def our_weights(folder: Path, config: GPTConfig) -> dict[str, Tensor]:
    """The weights of the folder by our names, each of them there and of the right shape."""
    found = read_weights(folder)
    if config.tied and not torch.equal(found.pop("lm_head.weight", found["wte.weight"]), found["wte.weight"]):
        raise ValueError(f"{folder}: the output layer differs from the embedding, though config.json ties them")
    shapes = {hub_name(name).removeprefix("transformer."): (name, turned(name, place).shape)
              for name, place in places(config) if name != "output.bias"}
    for name in sorted(found.keys() | shapes.keys()):
        if name not in shapes or name not in found:
            raise ValueError(f"{folder}: {name} is {'missing' if name in shapes else 'no weight of a GPT2LMHeadModel'}")
        if found[name].shape != shapes[name][1]:
            raise ValueError(f"{folder}: {name} has the shape {tuple(found[name].shape)}, and config.json says "
                             f"{tuple(shapes[name][1])}")
    return {ours: turned(ours, found[name]) for name, (ours, _) in shapes.items()}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights, in one file or several, without the prefix that some files have and the masks that old ones hold."""
    whole = folder / "model.safetensors"
    files = [whole] if whole.exists() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not files and list(folder.glob("*.bin")):
        raise ValueError(f"{folder} holds pickled weights only, and to open them is to run what they say; if you trust "
                         "them, save them anew with transformers: AutoModelForCausalLM.from_pretrained(...)"
                         ".save_pretrained(...)")
    if not files:
        raise ValueError(f"{folder} holds no {whole.name}")
    found = {}
    for path in files:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                found |= {name.removeprefix("transformer."): file.get_tensor(name).float() for name in file.keys()}
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is no whole safetensors file ({error}); fetch it again") from None
    return {name: weight for name, weight in found.items() if not name.endswith((".attn.bias", ".attn.masked_bias"))}


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
