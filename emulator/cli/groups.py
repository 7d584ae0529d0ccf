"""Groups of verbs that know what you meant."""

from difflib import get_close_matches
from typing import Any

import click

from emulator import interrupts


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
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would exit 1
            click.echo("interrupted", err=True)
            ctx.exit(interrupts.STATUS)
