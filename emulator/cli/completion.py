"""What the shell completes: fault types, their parameters, and the names of the run in progress.

Nothing here complains: who presses Tab where no run is in progress gets no names.
"""

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import get_completion_class

from emulator.cli.client import Client, Unanswered

TIMEOUT_S = 1.0  # nobody waits longer for Tab
SHELLS = ("bash", "zsh", "fish")
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completes(find: Callable[[click.Context], Iterable[str]]) -> Complete:
    """Makes of a function that finds words one that completes them, as click calls it."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [word for word in find(ctx) if word.startswith(incomplete)]
        except Unanswered:
            return []

    return complete


def _ask(ctx: click.Context, path: str) -> Any:
    return Client(ctx.params.get("url"), ctx.params.get("run"), TIMEOUT_S).request("GET", path)


@_completes
def fault_types(ctx: click.Context) -> Iterable[str]:
    from emulator.checks.fault_words import types

    return types()


@_completes
def targets(ctx: click.Context) -> Iterable[str]:
    """The nodes of the run in progress, and their groups."""
    found = _ask(ctx, "topology")
    kinds = ("base_stations", "servers", "users")
    names = [node["id"] for kind in kinds for node in found[kind]]
    return [*dict.fromkeys(name.rpartition("-")[0] + "-*" for name in names), *names]


@_completes
def parameters(ctx: click.Context) -> Iterable[str]:
    """KEY= of what the type of the fault takes."""
    from emulator.checks.fault_words import types

    fields = types().get(ctx.params.get("kind", ""), {}).get("properties", {})
    return [f"{name}=" for name in fields if name not in ("target", "for_s")]


@_completes
def active_faults(ctx: click.Context) -> Iterable[str]:
    return [str(f["id"]) for f in _ask(ctx, "faults")["faults"] if f["state"] == "active"]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that has the shell complete fresco's words.

    \b
    eval "$(fresco completion bash)"            now, in this shell
    fresco completion bash >> ~/.bashrc         in every new one
    fresco completion fish > ~/.config/fish/completions/fresco.fish
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows all of SHELLS"
    click.echo(made(ctx.find_root().command, {}, "fresco", "_FRESCO_COMPLETE").source())
