"""What the course's makers use; no notebook and no module of gptcore needs it."""

import sys
from collections.abc import Callable

__all__ = ["end"]


def end(main: Callable[[], int]) -> None:
    """Run a tool that trains, and end with its exit status, or with a word on what Ctrl-C left."""
    from gptcore.training import Interrupted  # slow to import, and the other tools do without

    try:
        sys.exit(main())
    except Interrupted:
        sys.exit("stopped, and saved: the same command goes on from here")
