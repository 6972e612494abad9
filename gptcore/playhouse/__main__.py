"""Write the corpus: python -m gptcore.playhouse FILE."""

import sys

from gptcore.files import atomic_write
from gptcore.playhouse import SCENES, corpus_text


def main() -> None:
    """Write the file whole or not at all."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with atomic_write(sys.argv[1]) as temporary:
        temporary.write_bytes(corpus_text().encode("ascii"))
    print(f"{SCENES:,} scenes in {sys.argv[1]}")


if __name__ == "__main__":
    main()
