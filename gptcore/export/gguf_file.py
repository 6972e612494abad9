"""A model and its tokenizer in one GGUF file, as llama.cpp runs it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gptcore.export.gpt2 import EPSILON, gpt2_weights, refuse_other_vocabulary, renamed
from gptcore.export.letters import needed, spelled
from gptcore.gpt import GPT, GPTConfig
from gptcore.tokenizer import GPT2_PATTERN, BPETokenizer, Tokenizer

if TYPE_CHECKING:
    import gguf

__all__ = ["TYPES", "save_gguf"]

TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}  # the names that gguf gives them
PARTS = {"token_embedding": "token_embd", "position_embedding": "position_embd", "blocks": "blk", "norm_1": "attn_norm",
         "query_key_value": "attn_qkv", "projection": "attn_output", "norm_2": "ffn_norm", "expand": "ffn_up",
         "contract": "ffn_down", "final_norm": "output_norm"}
LARGEST = np.finfo(np.float16).max.item()
HOW = """
```
llama-cli -m {file} -p "Once upon a time" -n 40
```

or in Python, after `pip install llama-cpp-python`:

```python
from llama_cpp import Llama

print(Llama("{file}")("Once upon a time", max_tokens=40)["choices"][0]["text"])
```

A prompt begins with `<|endoftext|>`, which llama.cpp puts there by itself."""
ROW = 32  # q8_0 gives each 32 weights of a row one scale


def save_gguf(model: GPT, tokenizer: Tokenizer, folder: Path, type: str, name: str) -> str:
    """Write the file, and return how to open it. Biases, norms and positions stay in float32, as in llama.cpp's own files.

    llama.cpp's gpt2 has the tanh form of GELU and GPT-2's way of cutting texts built in, and a file cannot say otherwise:
    another model would be opened and compute something else. So ValueError is raised for it.
    """
    refuse_other_vocabulary(model, tokenizer)
    refuse_what_llama_cpp_lacks(model.config, tokenizer, type)
    gguf = needed("gguf")
    writer = gguf.GGUFWriter(folder / f"model-{type}.gguf", "gpt2")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[TYPES[type]])
    if type == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_shape(writer, model.config)
    add_tokenizer(writer, tokenizer)
    for ours, weight in gpt2_weights(model).items():
        wide = weight.ndim == 2 and not ours.startswith("position")
        kind = gguf.GGMLQuantizationType[type.upper() if wide else "F32"]
        if type == "f16" and wide and not weight.abs().max() <= LARGEST:
            raise ValueError(f"{ours} holds a weight beyond {LARGEST:g}, the largest that f16 knows; export as f32")
        tensor = gguf.quants.quantize(weight.contiguous().numpy(), kind)
        writer.add_tensor(gguf_name(ours), tensor, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return HOW.format(file=f"model-{type}.gguf")


def refuse_what_llama_cpp_lacks(config: GPTConfig, tokenizer: Tokenizer, type: str) -> None:
    """Raise ValueError with the reason and the setting that would make it possible."""
    if type not in TYPES:
        raise ValueError(f"type={type!r} is unknown; choose one of {', '.join(TYPES)}")
    if config.activation != "gelu":
        raise ValueError(f"llama.cpp's gpt2 has GELU built in, and this model {config.activation}; train one with "
                         "--activation gelu, as --preset exportable has")
    if not isinstance(tokenizer, BPETokenizer):
        raise ValueError(f"llama.cpp's gpt2 knows byte pairs only, and this is {tokenizer!r}; train with --tokenizer "
                         "bpe:2000:gpt2")
    if tokenizer.pattern != GPT2_PATTERN:
        raise ValueError(f"llama.cpp cuts texts by GPT-2's pattern, and this tokenizer by another one "
                         f"({tokenizer.pattern_name}); train with --tokenizer bpe:2000:gpt2")
    if type == "q8_0" and config.n_embd % ROW:
        raise ValueError(f"q8_0 needs rows of a multiple of {ROW} weights, and n_embd={config.n_embd} is none; export as "
                         f"f16, or train one with --n-embd {-(-config.n_embd // ROW) * ROW}")


def gguf_name(name: str) -> str:
    """The name of one of our weights in a GGUF file.

    >>> gguf_name("blocks.0.mlp.expand.weight"), gguf_name("blocks.1.attention.projection.bias")
    ('blk.0.ffn_up.weight', 'blk.1.attn_output.bias')
    """
    return renamed(name.replace("attention.", "").replace("mlp.", ""), PARTS)


def add_shape(writer: "gguf.GGUFWriter", config: GPTConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(EPSILON)


def add_tokenizer(writer: "gguf.GGUFWriter", tokenizer: BPETokenizer) -> None:
    """The tokens by id. A prompt begins with `<|endoftext|>`, as each document did on which the model was trained."""
    kinds, (tokens, merges) = needed("gguf").TokenType, spelled(tokenizer)
    names = dict(enumerate(tokens)) | {i: name for name, i in tokenizer.special_tokens.items()}
    types = dict.fromkeys(range(len(tokens)), kinds.NORMAL) | dict.fromkeys(tokenizer.special_tokens.values(), kinds.CONTROL)
    ids = range(tokenizer.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names.get(i, f"[unused {i}]") for i in ids])
    writer.add_token_types([types.get(i, kinds.UNUSED) for i in ids])
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(tokenizer.end_of_text)
    writer.add_eos_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(True)
