"""What the shell completes: fault types, their parameters, and the names of the run that goes on.

Nothing here complains: who presses Tab where no run goes on gets no names.
"""

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from emulator.cli.client import Client, Unanswered

TIMEOUT_S = 1.0  # nobody waits longer for Tab
SHELLS = ("bash", "zsh", "fish")


def _starting(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _client(ctx: click.Context) -> Client:
    return Client(ctx.params.get("url"), ctx.params.get("run"), TIMEOUT_S)


class FaultType(click.ParamType[str]):
    """A fault type."""

    name = "type"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from emulator.checks.fault_words import types

        return _starting(incomplete, types())


class Target(click.ParamType[str]):
    """A node of the run that goes on, or one of its groups."""

    name = "target"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            found = _client(ctx).request("GET", "topology")
        except Unanswered:
            return []
        kinds = ("base_stations", "servers", "users")
        names = [node["id"] for kind in kinds for node in found[kind]]
        groups = dict.fromkeys(name.rpartition("-")[0] + "-*" for name in names)
        return _starting(incomplete, [*groups, *names])


class Parameter(click.ParamType[str]):
    """KEY=VALUE, where the type of the fault says which keys there are."""

    name = "parameter"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from emulator.checks.fault_words import types

        fields = types().get(ctx.params.get("kind", ""), {}).get("properties", {})
        return _starting(
            incomplete, (f"{name}=" for name in fields if name not in ("target", "for_s"))
        )


class FaultNumber(click.types.IntParamType):
    """The number of an active fault."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            known = _client(ctx).request("GET", "faults")["faults"]
        except Unanswered:
            return []
        return _starting(incomplete, (str(f["id"]) for f in known if f["state"] == "active"))


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes the shell complete verbs, fault types and names of the run.

    \b
    eval "$(fresco completion bash)"            now, in this shell
    fresco completion bash >> ~/.bashrc         in every new one
    fresco completion fish > ~/.config/fish/completions/fresco.fish
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows all of SHELLS"
    click.echo(made(ctx.find_root().command, {}, "fresco", "_FRESCO_COMPLETE").source())
