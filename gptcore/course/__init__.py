"""The machinery of the notebooks: setup, parity with gptcore, exercises, the dial. Met first in 00_start_here.ipynb.

Nothing heavy is imported here: in the cloud this runs before the missing packages are installed.
"""

from gptcore.course.turn import your_turn

__all__ = ["your_turn"]
