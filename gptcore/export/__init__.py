"""A trained model for the programs that people use, transformers, llama.cpp and tiktoken, and models from there."""

from pathlib import Path

from gptcore.export.folder import filling
from gptcore.export.gguf_file import TYPES, save_gguf
from gptcore.export.huggingface import from_huggingface, save_huggingface
from gptcore.export.ranks import from_tiktoken, published_tokenizer, save_tiktoken, to_tiktoken
from gptcore.export.tokenizer_json import load_tokenizer_json, save_tokenizer_json
from gptcore.gpt import GPT, count_parameters
from gptcore.tokenizer import Tokenizer

__all__ = ["TARGETS", "TYPES", "export", "from_huggingface", "from_tiktoken", "load_tokenizer_json",
           "published_tokenizer", "save_tokenizer_json", "to_tiktoken"]

TARGETS = {"hf": "Hugging Face's transformers", "gguf": "llama.cpp and what is built on it", "tiktoken": "tiktoken"}


def export(
    model: GPT,
    tokenizer: Tokenizer,
    to: str,
    folder: str | Path,
    *,
    type: str | None = None,
    name: str = "A small GPT",
    about: str = "",
    licence: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a folder that another program opens, with a README.md that says how, and return its files.

    `to` is one of TARGETS (tiktoken gets the tokenizer alone), `type` the number format of a GGUF file, one of TYPES (f32).
    `name`, `about` and `licence` are for the README. Raises ValueError where the other program would compute something
    else, with the setting that would make it possible, and FileExistsError rather than lose a file (see `filling`); then
    nothing has been written.
    """
    if to not in TARGETS:
        raise ValueError(f"{to!r} is unknown; export to one of {', '.join(TARGETS)}")
    if type is not None and to != "gguf":
        raise ValueError(f"type={type!r} is for gguf; {to} has one type only, so leave it out")
    with filling(folder, overwrite) as temporary:
        if to == "hf":
            how = save_huggingface(model, tokenizer, temporary)
        elif to == "gguf":
            how = save_gguf(model, tokenizer, temporary, type or "f32", name)
        else:
            how = save_tiktoken(tokenizer, temporary)
        (temporary / "README.md").write_text(readme(model, tokenizer, to, how, name, about, licence), encoding="utf-8")
        names = sorted(path.name for path in temporary.iterdir())
    return [Path(folder) / each for each in names]


def readme(model: GPT, tokenizer: Tokenizer, to: str, how: str, name: str, about: str, licence: str | None) -> str:
    """The model card: what it is, what it was trained on, under which licence, and how to open it."""
    config, front = model.config, ""
    facts = {"tokenizer": repr(tokenizer)}
    if to != "tiktoken":
        facts |= {"model": f"{sum(count_parameters(config).values()):,} parameters, {config.n_layer} layers, "
                           f"{config.n_head} heads, {config.n_embd} channels",
                  "context": f"{config.block_size} tokens, the prompt counted"}
    if to == "hf":
        front = "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n"  # read by the hub
    lines = [f"{label:11} {text}" for label, text in facts.items()] + about.splitlines()
    block = "\n".join([*lines, f"licence     {licence or 'not stated'}"])
    return (f"{front}# {name}\n\nMade with gptcore for {TARGETS[to]}.\n\n```\n{block}\n```\n\n## How to open it\n\n"
            f"{how.strip()}\n")
