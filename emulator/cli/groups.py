"""Groups of commands that suggest the nearest one when a word is misspelt."""

import tempfile
import traceback
from difflib import get_close_matches
from typing import Any

import click

from emulator import interrupts

EXPECTED = (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)
BROKEN = 3  # exit status


class Verbs(click.Group):
    """A group that knows what you meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(error.message + hint, ctx) from None

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
