"""The console output of the commands."""

import os
import sys

from rich.console import Console


class Terminal(Console):
    """Whoever reads along may go, as `head` does: then the verb ends as it does with Ctrl-C."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise KeyboardInterrupt
