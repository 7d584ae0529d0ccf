"""What the groups of verbs share: how they end when something breaks."""

import tempfile
import traceback
from typing import Any

import click

from emulator import interrupts

EXPECTED = (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)
BROKEN = 3  # exit status


class Verbs(click.Group):
    """A group of verbs that never shows a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Answers what nobody foresaw with a line and exit 3; how it came about is in a file."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would exit 1
            click.echo("interrupted", err=True)
            ctx.exit(interrupts.STATUS)
        except EXPECTED:
            raise
        except Exception as error:
            with tempfile.NamedTemporaryFile(
                "w", prefix="fresco-traceback-", suffix=".txt", delete=False
            ) as kept:
                kept.write(traceback.format_exc())
            what = f"{type(error).__name__}: {error}"
            click.echo(f"fresco: an error of Fresco's own: {what}", err=True)
            click.echo(f"fresco: please report it with {kept.name}", err=True)
            ctx.exit(BROKEN)
