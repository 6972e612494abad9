"""Write the corpus to a file: python -m gptcore.playhouse FILE."""

import argparse
from pathlib import Path

from gptcore.files import atomic_write
from gptcore.playhouse import SCENES, corpus_text


def main() -> None:
    """Write the file whole or not at all."""
    parser = argparse.ArgumentParser(prog="python -m gptcore.playhouse", description="Write the corpus to a file.")
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    with atomic_write(path) as temporary:
        temporary.write_bytes(corpus_text().encode("ascii"))
    print(f"{SCENES:,} scenes in {path}")


if __name__ == "__main__":
    main()
