"""The console output of the commands."""

import os
import sys

from rich.console import Console


class Terminal(Console):
    """A console whose reader may go, as `head` does: the verb then ends as it does with Ctrl-C."""

    def say(self, text: str) -> None:
        """Prints a line as it is, however long; only its markup is styled."""
        self.print(text, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise KeyboardInterrupt
