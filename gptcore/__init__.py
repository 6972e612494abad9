"""The tested core of a course in which people build a GPT themselves: models, tokenizers and tools, one module each."""

__version__ = "0.1.0"
