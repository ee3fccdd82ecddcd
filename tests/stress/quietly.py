"""The command line without figures, in a process of its own, for `clusters.py`."""

from __future__ import annotations

import signal
import sys

from attempts import no_figures

from salsanity.cli.app import run

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with no_figures():
        sys.exit(run(sys.argv[1:]))
