"""What several fields of a scenario must say together, and what deserves a warning.

Every check yields (path, message, remedy). A problem stops the scenario before anything starts; a
warning is shown by `fresco check` and does not.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from agents.protocols import PROTOCOLS
from emulator.build.plan import draw
from emulator.checks import arrivals as check_arrivals
from emulator.checks import capacity as check_capacity
from emulator.checks import devices as check_devices
from emulator.checks import faults as check_faults
from emulator.checks import graph as check_graph
from emulator.checks import slots as check_scheduled
from emulator.checks.complaints import Complaint, Where, kinds_of, readable, suggest
from emulator.results.measures import METRICS
from emulator.results.stats import ALL
from emulator.scenario import arrival_kinds, channel_kinds, traces
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import is_scheduled
from emulator.scenario.topology import members

SLOTTED = ("slotted", "scheduled")


def problems(chosen: Scenario) -> list[Complaint]:
    """Returns everything that makes a well-typed scenario impossible to run.

    Every check is made whatever the others find; but for the last, which needs all of them.
    """
    wrong_map, tables = check_graph.problems(chosen)
    found = [
        *_names(chosen),
        *_protocol(chosen),
        *_access(chosen),
        *check_capacity.slots(chosen),
        *check_scheduled.fields(chosen),
        *_channels(chosen),
        *check_devices.problems(chosen),
        *check_faults.problems(chosen, tables),
        *_expectations(chosen),
        *_files(chosen),
        *wrong_map,
    ]
    if chosen.warmup_s >= chosen.duration_s:
        remedy = f"make it shorter than duration_s = {chosen.duration_s:g}"
        found.append((("warmup_s",), "the warm-up leaves nothing to measure", remedy))
    nodes, hosts = len(list(kinds_of(chosen))), chosen.runtime.hosts
    if hosts is not None and hosts > nodes:
        found.append((("runtime", "hosts"), f"{hosts} hosts for {nodes} nodes", f"at most {nodes}"))
    if not found and tables is not None and is_scheduled(chosen):
        found += check_scheduled.frame(chosen, tables)
    return found


def warnings(chosen: Scenario) -> list[Complaint]:
    """Returns what runs, but probably not as meant."""
    drawn = draw(chosen, stopwatch=False)
    return [
        *check_arrivals.out_of_the_run(drawn),
        *check_arrivals.in_step(drawn),
        *check_capacity.load(chosen),
        *check_capacity.deadlines(chosen),
        *check_capacity.unreached(drawn),
        *check_capacity.hopeless(drawn),
        *check_capacity.crowded(drawn),
        *check_devices.machines(chosen),
        *check_faults.late(chosen),
        *check_faults.idle(drawn),
    ]


def _names(chosen: Scenario) -> Iterator[Complaint]:
    groups: list[tuple[str, int, str]] = [
        (kind, index, group.name)
        for kind in ("users", "base_stations", "servers")
        for index, group in enumerate(getattr(chosen, kind))
    ]
    nodes = {name for name, _ in kinds_of(chosen)}
    seen = Counter[str]()
    for kind, index, name in groups:
        seen[name] += 1
        if seen[name] > 1 or name == ALL:
            what = "means all users" if name == ALL else "is taken"
            yield (kind, index, "name"), f"the name '{name}' {what}", "choose another"
        elif name in nodes:  # a selector `x-*` would mean this group as well as the nodes of `x`
            text = f"the name '{name}' is that of a node of group '{name.rpartition('-')[0]}'"
            yield (kind, index, "name"), text, "choose another"


def _protocol(chosen: Scenario) -> Iterator[Complaint]:
    kind = chosen.protocol.kind
    protocol = PROTOCOLS.get(kind)
    if protocol is None:
        yield ("protocol", "kind"), f"unknown protocol '{kind}'", suggest(kind, PROTOCOLS)
        return
    yield from _options(chosen.protocol.options, protocol.options, kind)
    if protocol.local:
        for index, group in enumerate(chosen.users):
            if group.cpu is None:
                text = f"'{kind}' serves tasks on the users' own CPUs; '{group.name}' has none"
                yield ("users", index), text, "add `cpu: {accelerator: ...}`"


def _options(given: dict[str, Any], model: type[msgspec.Struct], kind: str) -> list[Complaint]:
    """Checks options one by one: `msgspec` stops at the first that is wrong."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(model)}
    found: list[Complaint] = []
    for key, value in given.items():
        where = ("protocol", key)
        if key not in types:
            remedy = suggest(key, types) if types else f"'{kind}' has no options: leave it out"
            found.append((where, f"unknown option '{key}'", remedy))
            continue
        try:
            msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            words = [word for word in get_args(types[key]) if isinstance(word, str)]
            remedy = suggest(str(value), words) if words else f"see the options of '{kind}'"
            text = f"unknown value {value!r}" if words else str(error)
            found.append((where, text, remedy))
    if not found:  # then what is left: options that are missing, or do not fit together
        try:
            msgspec.convert(given, model)
        except msgspec.ValidationError as error:
            found.append((("protocol",), str(error), f"see the options of '{kind}'"))
    return found


def _access(chosen: Scenario) -> Iterator[Complaint]:
    protocol = PROTOCOLS.get(chosen.protocol.kind)
    for index, user in enumerate(chosen.users):
        if user.arrival.kind != "on-grant":
            continue
        where = ("users", index, "arrival", "kind")
        for group in chosen.base_stations:
            if group.access != "slotted":
                text = f"on-grant users need slots; '{group.name}' grants none"
                yield where, text, "set access: slotted, or choose another arrival"
        if chosen.resend.attempts_max > 1:
            text = f"a fresh task is made for every slot, yet {chosen.resend.attempts_max} attempts"
            yield where, f"{text} are allowed", "set `resend: {attempts_max: 1}`"
    for index, group in enumerate(chosen.base_stations):
        if group.access == "dedicated" and group.channels is not None:
            text = "with dedicated access every user has a channel of its own"
            remedy = "leave channels out, or set access: contention or granted"
            yield ("base_stations", index, "channels"), text, remedy
        if protocol is not None and protocol.slotted and group.access not in SLOTTED:
            text = f"'{chosen.protocol.kind}' shares out slots; '{group.name}' has none"
            yield ("base_stations", index, "access"), text, "set access: slotted, and channels"
        if group.access != "dedicated" and group.channels is None:
            text = f"'channels' is missing: how many does {group.access} access share?"
            yield ("base_stations", index, "access"), text, "add `channels: 8`"


def _channels(chosen: Scenario) -> Iterator[Complaint]:
    for where, spec in _all_channels(chosen):
        if isinstance(spec, channel_kinds.BernoulliChannel | channel_kinds.GilbertElliottChannel):
            if (spec.rate_bps is None) == (spec.airtime is None):
                text = "an attempt takes size / rate_bps, or a random airtime"
                yield where, text, "give exactly one of rate_bps and airtime"
            if spec.airtime is not None:
                yield from check_devices.distribution((*where, "airtime"), spec.airtime)
        if isinstance(spec, channel_kinds.GilbertElliottChannel):
            if spec.p + spec.r == 0.0:
                yield (*where, "p"), "p and r are both 0: the state never changes", "give p or r"
            if spec.loss_good > spec.loss_bad:
                text = "the good state loses more than the bad one"
                yield (*where, "loss_good"), text, "swap loss_good and loss_bad, and p and r"


def _all_channels(chosen: Scenario) -> Iterator[tuple[Where, channel_kinds.Channel]]:
    yield ("channel",), chosen.channel
    if chosen.downlink is not None:
        yield ("downlink",), chosen.downlink
    if chosen.control is not None:
        yield ("control", "channel"), chosen.control.channel


def _expectations(chosen: Scenario) -> Iterator[Complaint]:
    of = {
        "group": [ALL, *(group.name for group in chosen.users)],
        "server": [ALL, *(name for name, _ in members(chosen.servers))],
        "network": [ALL],
    }
    for index, expect in enumerate(chosen.expect):
        where = ("expect", index)
        metric = METRICS.get(expect.metric)
        if metric is None:
            text = f"unknown metric '{expect.metric}'"
            yield (*where, "metric"), text, suggest(expect.metric, METRICS)
        elif expect.of not in of[metric.of]:
            text = f"unknown {metric.of} '{expect.of}'"
            if metric.of == "network":
                text = f"{metric.name} is of the whole network, not of '{expect.of}'"
            yield (*where, "of"), text, suggest(expect.of, of[metric.of])
        if expect.above is None and expect.below is None:
            yield where, "expects nothing", "give above, below or both"
        elif None not in (expect.above, expect.below) and expect.above >= expect.below:  # type: ignore[operator]
            text = f"nothing is above {expect.above:g} and below {expect.below:g}"
            yield (*where, "above"), text, "swap the bounds"


def _files(chosen: Scenario) -> Iterator[Complaint]:
    for index, group in enumerate(chosen.users):
        if isinstance(group.arrival, arrival_kinds.TraceArrivals):
            where = ("users", index, "arrival", "file")
            yield from readable(where, group.arrival.file, traces.read_times)
    for place, spec in _all_channels(chosen):
        if isinstance(spec, channel_kinds.TraceChannel):
            yield from readable((*place, "file"), spec.file, traces.read_channel)
