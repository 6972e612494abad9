"""A tokenizer as `tokenizers` and `transformers` have it, in tokenizer.json, and back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptcore.corpora import END_OF_TEXT
from gptcore.export.letters import byte_letters, needed, spelled
from gptcore.files import atomic_write
from gptcore.tokenizer import GPT2_PATTERN, BPETokenizer, CharTokenizer, Tokenizer

if TYPE_CHECKING:
    import tokenizers

__all__ = ["load_tokenizer_json", "save_tokenizer_json"]

CHARACTER = r"[\s\S]"


def save_tokenizer_json(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write the tokenizer.json that `tokenizers.Tokenizer.from_file` and `PreTrainedTokenizerFast(tokenizer_file=...)` open.

    Both read special tokens from any text, unasked: their ids are those of `encode(text, allowed_special="all")`.
    """
    if isinstance(tokenizer, BPETokenizer):
        converted, specials = _by_pairs(tokenizer), list(tokenizer.special_tokens)
    else:
        converted, specials = _by_characters(tokenizer), [END_OF_TEXT]
    special = [needed("tokenizers").AddedToken(name, special=True, normalized=False) for name in specials]
    converted.add_special_tokens(special)
    with atomic_write(path) as temporary:
        converted.save(str(temporary))


def _by_pairs(tokenizer: BPETokenizer) -> "tokenizers.Tokenizer":
    tokenizers, (names, merges) = needed("tokenizers"), spelled(tokenizer)
    ids = {name: i for i, name in enumerate(names)} | tokenizer.special_tokens
    converted = tokenizers.Tokenizer(tokenizers.models.BPE(ids, merges))
    steps = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    if tokenizer.pattern is not None:
        # A plain string in place of the Regex would be searched for literally, and never be found.
        steps.insert(0, tokenizers.pre_tokenizers.Split(tokenizers.Regex(tokenizer.pattern), "isolated"))
    converted.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    converted.decoder = tokenizers.decoders.ByteLevel()
    return converted


def _by_characters(tokenizer: CharTokenizer) -> "tokenizers.Tokenizer":
    """Without a token for what is unknown, so that a character that is not in the vocabulary is refused there, too."""
    tokenizers = needed("tokenizers")
    ids = {character: i for i, character in enumerate(tokenizer.characters)} | {END_OF_TEXT: tokenizer.end_of_text}
    converted = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="none"))
    converted.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(CHARACTER), "isolated")
    converted.decoder = tokenizers.decoders.Fuse()
    return converted


def load_tokenizer_json(path: str | Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json, if it is one that `save_tokenizer_json` could have written, or GPT-2's own kind.

    Raises ValueError, naming the part, where another one would cut texts in a way that ours cannot.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        specials = {each["content"]: each["id"] for each in content["added_tokens"]}
        ids = {name: i for name, i in content["model"]["vocab"].items() if name not in specials}
        tokens = sorted(ids, key=ids.__getitem__)
        _refuse_other_steps(content)
        if [ids[token] for token in tokens] != list(range(len(tokens))):
            raise ValueError("its ids have a hole")
        if content["model"]["type"] == "WordLevel":
            return _characters(content, tokens, specials)
        return _pairs(content, tokens, ids, specials)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no tokenizer.json that can be read here ({error!r})") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}. Byte-level BPE, as GPT-2 has it, can, and what gptcore wrote; "
                         "without this file the weights are read alone") from None


def _refuse_other_steps(content: dict[str, Any]) -> None:
    """Raise ValueError where something beside the cutting and the merges would change the ids."""
    model, after = content["model"], content.get("post_processor") or {"type": "ByteLevel"}
    if model.get("type") not in ("BPE", "WordLevel"):
        raise ValueError(f"its model is {model.get('type')}")
    if content.get("normalizer"):
        raise ValueError(f"its normalizer, {content['normalizer'].get('type')}, changes the text")
    if after["type"] != "ByteLevel" and after.get("special_tokens") != {}:  # GPT-2's moves offsets only
        raise ValueError(f"its post_processor, {after['type']}, may add tokens")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"):
        if model.get(name):
            raise ValueError(f"its model has {name}={model[name]!r}")
    for token in content["added_tokens"]:
        if any(token.get(name) for name in ("lstrip", "rstrip", "single_word")):
            raise ValueError(f"its token {token['content']} takes in what stands beside it")


def _characters(content: dict[str, Any], tokens: list[str], specials: dict[str, int]) -> CharTokenizer:
    cut = content["pre_tokenizer"]
    if cut.get("pattern") != {"Regex": CHARACTER} or specials != {END_OF_TEXT: len(tokens)}:
        raise ValueError("its tokens are words, not characters")
    return CharTokenizer("".join(tokens))


def _pairs(content: dict[str, Any], tokens: list[str], ids: dict[str, int], specials: dict[str, int]) -> BPETokenizer:
    """The first 256 tokens must be the bytes, in any order, and the others what the merges make, one after the other."""
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    if sorted(tokens[:256]) != sorted(byte_of):
        raise ValueError("its first 256 tokens are not the bytes in GPT-2's letters")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in content["model"]["merges"]]
    if ["".join(pair) for pair in pairs] != tokens[256:]:
        raise ValueError("its merges do not make its tokens one after the other")
    merges = [(ids[left], ids[right]) for left, right in pairs]
    return BPETokenizer(merges, _pattern(content["pre_tokenizer"]), specials, bytes(byte_of[each] for each in tokens[:256]))


def _pattern(step: dict[str, Any]) -> str | None:
    """How a text is cut: by ByteLevel alone, which has GPT-2's pattern in it, or by a pattern before it."""
    steps = step["pretokenizers"] if step["type"] == "Sequence" else [step]
    *cuts, last = steps
    if last["type"] != "ByteLevel" or last.get("add_prefix_space") or len(cuts) > 1:
        raise ValueError("its pre_tokenizer is not a pattern and then ByteLevel without a space put before the text")
    if last.get("use_regex", True) and not cuts:
        return GPT2_PATTERN
    plain = {"type": "Split", "behavior": "Isolated", "invert": False}
    if last.get("use_regex", True) or any(not plain.items() <= cut.items() for cut in cuts):
        raise ValueError("its pre_tokenizer cuts in more than one way")
    return cuts[0]["pattern"]["Regex"] if cuts else None
