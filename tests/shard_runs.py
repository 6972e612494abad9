"""Tokenize a folder of texts in a process of its own, to be killed by tests/test_shards.py.

    python tests/shard_runs.py SOURCE FOLDER TOKENIZER PROCESSES [FILE SIZE]

With a file size no file can grow beyond it, as on a full disk.
"""

import resource
import signal
import sys

from gptcore import tokenizing
from gptcore.sources import open_source
from gptcore.tokenizer import load_tokenizer

if __name__ == "__main__":
    source, folder, tokenizer, processes, *limit = sys.argv[1:]
    tokenizing.UNIT = 2**12  # many units, and with save_every=0 a checkpoint after each
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails, as it does when the disk is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    tokenizing.write_shards(open_source(source), folder, load_tokenizer(tokenizer), processes=int(processes),
                            shard_tokens=10_007, save_every=0, progress=False)
