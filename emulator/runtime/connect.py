"""Reaches Ray: starts it here or connects to a cluster, and finds the machines that carry hosts.

Ray waits for minutes, deaf to signals, for what does not answer. So whoever should answer is asked
first, in the health protocol of gRPC that all its processes speak, and `ray.init` has a thread of
its own while this one keeps looking at the clock and can be interrupted.
"""

import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from emulator import interrupts
from emulator.scenario.schema import Runtime

PROBE_MAX_S = 2.0  # wall; who answers nothing for so long is silent
OBJECT_STORE_BYTES = 100 * 1024 * 1024  # hosts exchange small messages, nothing goes through it
TMPDIR_MAX_BYTES = 39  # a socket's path has 107 at most, and Ray appends 68

Say = Callable[[str], None]
"""Is told in words what a start waits for."""


def _silent(text: str) -> None:
    pass


class RunError(RuntimeError):
    """A run could not start; the message says what to do."""


class Machine(Struct, frozen=True):
    """A node of the Ray cluster; `raylet` is where the process listens that starts hosts on it."""

    id: str
    name: str
    address: str
    raylet: str
    cpus: float

    def __str__(self) -> str:
        return f"machine {self.name} ({self.address})"


@contextmanager
def ray_cluster(
    address: str | None, limits: Runtime | None = None, say: Say = _silent
) -> Iterator[None]:
    """Connects to the cluster at `address` (`auto`: the one on this machine), or starts one.

    RunError where that fails, or takes longer than `limits` allow. An embedded cluster listens on
    loopback, and wants a token that only its own processes know.
    """
    limits = limits or Runtime()
    embedded = address in (None, "local")
    _set_environment(embedded)
    try:
        import ray
    except Exception as error:  # also what a broken installation raises
        raise RunError(
            f"Ray cannot be imported: {error}\n"
            "  - pip install 'ray[default]'; `fresco doctor` looks at all packages\n"
            "  - or do without: --runtime loop --paced"
        ) from None
    began_s = time.monotonic()
    if embedded:
        limit, end_s = "start_max_s", began_s + limits.start_max_s
        how: dict[str, Any] = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
        }
        what, doing = "start Ray here", "starting Ray"
    else:
        limit, end_s = "connect_max_s", began_s + limits.connect_max_s
        found, noted = _resolve(str(address))
        what, doing = f"reach a Ray cluster at {found}{noted}", f"connecting to Ray at {found}"
        _await_answer(found, what, end_s, limits, say)
        how = {"address": found}
    how |= {"log_to_driver": False, "logging_level": "ERROR"}
    aside = interrupts.Aside()

    def connect() -> None:
        # Of SIGINT Ray keeps its processes itself, and with SIGTERM it ends them.
        with interrupts.kept_from_children(signal.SIGHUP):
            ray.init(**how)

    say(doing)
    left_s = max(0.0, end_s - time.monotonic())
    try:
        aside.call(connect, left_s, lambda waited_s: say(f"{doing} ({waited_s:.0f} s)"))
    except interrupts.Overdue:
        text = f"could not {what} in {time.monotonic() - began_s:.0f} s"
        raise RunError(f"{text}; runtime.{limit} allows more{_remedies(None, embedded)}") from None
    except Exception as error:
        lines = str(error).strip().splitlines()
        why = lines[0] if lines else type(error).__name__
        raise RunError(f"could not {what}: {why}{_remedies(error, embedded)}") from error
    try:
        yield
    finally:
        aside.call(ray.shutdown)


def probe(address: str, timeout_s: float = PROBE_MAX_S) -> None:
    """Asks the Ray process at HOST:PORT for a sign of life; OSError where there is none.

    TimeoutError: something is there, or was, and is silent. A stopped process still accepts
    connections, so only an answer counts: any, also a refusal for want of a token.
    """
    import grpc  # which Ray depends on itself

    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return  # speaking to it takes its certificates; that it listens must do
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            check(b"", timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(f"no answer within {timeout_s:g} s") from None
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError("who listens there is not Ray") from None


def why_silent(address: str, timeout_s: float = PROBE_MAX_S) -> str:
    """Says why nobody answers at HOST:PORT; nothing where somebody does."""
    try:
        probe(address, timeout_s)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def machines() -> tuple[list[Machine], list[str]]:
    """Returns the machines of the cluster that can carry hosts, and why others do not.

    Whoever does not answer is left out, also where Ray still calls it alive, which it does for
    half a minute; so is who offers no processors, unless nobody offers any.
    """
    import ray

    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = sorted((_machine(each) for each in known if each["Alive"]), key=lambda m: m.id)
    with ThreadPoolExecutor(max(1, min(32, len(alive)))) as pool:
        silences = list(pool.map(lambda machine: why_silent(machine.raylet), alive))
    pairs = list(zip(alive, silences, strict=True))
    left_out = [f"{machine}: {why}" for machine, why in pairs if why]
    answering = [machine for machine, why in pairs if not why]
    if not answering:
        raise RunError("no machine of the Ray cluster answers: " + "; ".join(left_out))
    return [each for each in answering if each.cpus > 0] or answering, left_out


def _machine(node: dict[str, Any]) -> Machine:
    address = node["NodeManagerAddress"]
    shown = f"[{address}]" if ":" in address else address
    return Machine(
        id=node["NodeID"],
        name=node["NodeManagerHostname"],
        address=address,
        raylet=f"{shown}:{node['NodeManagerPort']}",
        cpus=node["Resources"].get("CPU", 0.0),
    )


def _resolve(address: str) -> tuple[str, str]:
    """Returns HOST:PORT, and where it was found if it was not given."""
    if address != "auto":
        _, colon, port = address.rpartition(":")
        if not colon or "/" in address or not port.isdigit() or not 0 < int(port) < 65536:
            raise RunError(f"--address {address}: expected 'auto' or HOST:PORT, as 10.0.0.1:6379")
        return address, ""
    from ray._private import services

    noted: str | None = services.find_bootstrap_address(None)
    if noted:
        return noted, ", which Ray notes as the latest one on this machine"
    running: list[str] = sorted(services.find_gcs_addresses())  # type: ignore[no-untyped-call]
    if len(running) == 1:
        return running[0], ", which runs on this machine"
    found = f"several run: {', '.join(running)}" if running else "none runs"
    raise RunError(
        f"--address auto: Ray notes no cluster on this machine, and {found}\n"
        "  - give HOST:PORT, or start one: ray start --head\n"
        "  - or leave --address and RAY_ADDRESS out: Fresco starts Ray here"
    )


def _await_answer(address: str, what: str, end_s: float, limits: Runtime, say: Say) -> None:
    """Waits until a cluster answers, which may be about to start."""
    while True:
        asked_s = time.monotonic()
        why = why_silent(address, min(1.0, limits.connect_max_s))
        if not why:
            return
        left_s = end_s - time.monotonic()
        if left_s <= 0.0:
            raise RunError(
                f"could not {what} in {limits.connect_max_s:g} s (runtime.connect_max_s): {why}"
                f"{_remedies(None, False)}"
            )
        say(f"waiting for Ray at {address}: {why} ({left_s:.0f} s left)")
        time.sleep(max(0.0, min(left_s, asked_s + 1.0 - time.monotonic())))


def _set_environment(embedded: bool) -> None:
    environment = os.environ
    environment["RAY_USAGE_STATS_ENABLED"] = "0"
    environment.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Workers import this package from where the driver did, installed or not.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(paths)))
    if embedded:
        # Ray runs workers at nice 15: beside one busy process hosts would get 4 % of a core.
        environment.setdefault("RAY_worker_niceness", "0")
        environment["RAY_AUTH_MODE"] = "token"
        # One token per process: Ray keeps the first it saw, another would fail.
        environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    else:
        environment.setdefault("RAY_AUTH_MODE", "disabled")


def _remedies(error: Exception | None, embedded: bool) -> str:
    """Returns what to do, a line each."""
    if "AF_UNIX" in str(error):
        variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "")
        given = f": {variable} has {len(os.environ[variable].encode())}" if variable else ""
        lines = [
            f"the folder that Ray's sockets lie in may have {TMPDIR_MAX_BYTES} bytes{given}",
            "set RAY_TMPDIR to a shorter one, for example RAY_TMPDIR=/tmp",
        ]
    elif embedded:
        lines = ["`fresco doctor --ray` looks for what is wrong on this machine"]
        if sys.platform == "linux":
            lines.append("Ray's own record is in /tmp/ray/session_latest/logs, or in RAY_TMPDIR")
    else:
        lines = [
            "is it running? `ray status` asks it, `ray start --head` starts one; without\n"
            "    --address and RAY_ADDRESS Fresco starts Ray here",
            "does it want a token? set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as it has them,\n"
            "    or RAY_AUTH_MODE=disabled where it was started without",
            "a driver needs a node of the cluster on its own machine: `ray start --address=...`",
            "the same Ray and Python everywhere? `fresco doctor` tells",
        ]
    return "".join(f"\n  - {line}" for line in lines)
