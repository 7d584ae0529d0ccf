"""Whether a scenario with scheduled access is consistent. Complaints as in `check.py`."""

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agents.messages.slots import SlotGrant
from agents.policy import CellPolicy, ServerPolicy, UserPolicy
from agents.protocols import PROTOCOLS
from agents.tasks import HEADER_BITS
from agents.todg.allocation.allocator import plan_for, steps
from agents.todg.uplink import REST_MIN_BITS
from emulator.checks.complaints import Complaint
from emulator.scenario import channel_kinds
from emulator.scenario.arrival_kinds import TraceArrivals
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import DeadlineError, arrival_rates_hz, frame_of, is_scheduled
from emulator.scenario.topology import Layout


def fields(chosen: Scenario) -> Iterator[Complaint]:
    """Checks fields against each other; nothing of the topology is needed."""
    protocol = PROTOCOLS.get(chosen.protocol.kind)
    if not is_scheduled(chosen):
        roles = (UserPolicy, CellPolicy, ServerPolicy)
        if (
            protocol is not None
            and protocol.discipline is not None
            and (protocol.user, protocol.cell, protocol.server) == roles
        ):
            text = f"'{chosen.protocol.kind}' schedules slots; no base station's access is that"
            yield ("protocol", "kind"), text, "set access: scheduled, and see scenarios/todg.yaml"
        for where, spec in (("channel",), chosen.channel), (("downlink",), chosen.downlink):
            if spec is not None and spec.kind == "adaptive":
                text = "an adaptive channel is for those who look before they send"
                yield (*where, "kind"), text, "set access: scheduled, or choose kind: rayleigh"
        return
    if protocol is not None and protocol.discipline is None:
        known = ", ".join(name for name, each in PROTOCOLS.items() if each.discipline)
        text = f"'{chosen.protocol.kind}' cannot act where access is scheduled"
        yield ("protocol", "kind"), text, f"one of {known}"
    first = chosen.base_stations[0]
    for index, group in enumerate(chosen.base_stations):
        for field in ("access", "channels", "grant_s"):
            if getattr(group, field) != getattr(first, field):
                text = f"'{group.name}' and '{first.name}' differ; all share one schedule"
                yield ("base_stations", index, field), text, f"{getattr(first, field)} for all"
    yield from _radio(chosen)
    for index, user in enumerate(chosen.users):
        if user.deadline_s is None:
            text = f"tasks of '{user.name}' have no deadline to keep"
            yield ("users", index), text, "add `deadline_s: 2`"
        arrival = user.arrival
        if not (arrival.declared_hz or isinstance(arrival, TraceArrivals)):
            text = f"{arrival.kind} tasks have no rate to plan with"
            remedy = "choose one that has, as poisson, periodic or trace"
            yield ("users", index, "arrival", "kind"), text, remedy


def _radio(chosen: Scenario) -> Iterator[Complaint]:
    slot_s, slots = chosen.base_stations[0].grant_s, chosen.slots
    spec = chosen.channel
    if not isinstance(spec, channel_kinds.AdaptiveChannel):
        text = f"a {spec.kind} channel tells nobody its rate"
        yield ("channel", "kind"), text, "where access is scheduled, choose kind: adaptive"
    elif abs(spec.coherence_s - slot_s) > 1e-12:
        text = f"rates hold for {spec.coherence_s:g} s, a slot lasts {slot_s:g} s"
        yield ("channel", "coherence_s"), text, f"set it to grant_s = {slot_s:g}"
    if chosen.downlink is None or chosen.downlink.kind == "adaptive":
        text = "results need a channel of their own where the uplink is scheduled"
        yield ("downlink",), text, "add `downlink: {kind: ideal, delay_s: 0.002}`"
    if chosen.control is None or chosen.control.channel.kind == "adaptive":
        text = "reports and grants need a channel of their own"
        yield ("control",), text, "add `control: {channel: {kind: ideal, delay_s: 0.001}}`"
    if chosen.resend.attempts_max > 1:
        text = "a lost burst goes back to its queue, and is not resent by the link"
        yield ("resend", "attempts_max"), text, "set `resend: {attempts_max: 1}`"
    wires_s = [
        chosen.backhaul.delay_s,
        *(group.backhaul_delay_s or 0.0 for group in chosen.servers),
    ]
    for field, bound_s, why in (
        ("report_s", max(wires_s), "boards of servers take as long"),
        ("round_s", 2.0 * chosen.backhaul.delay_s, "a question and its answer take as long"),
        ("guard_s", max(wires_s), "bursts take as long to reach a server"),
    ):
        if getattr(slots, field) <= bound_s:
            text = f"{field} = {getattr(slots, field):g} s is not above {bound_s:g} s"
            yield ("slots", field), f"{text}: {why}", "raise it, or lower backhaul.delay_s"


def frame(chosen: Scenario, layout: Layout) -> Iterator[Complaint]:
    """Checks what needs the whole network: that slots, deadlines and V fit together."""
    protocol = PROTOCOLS[chosen.protocol.kind]
    assert protocol.discipline is not None
    rates_hz = arrival_rates_hz(chosen)
    for index, user in enumerate(chosen.users):
        arrival = user.arrival
        if isinstance(arrival, TraceArrivals) and not rates_hz[arrival.file] > 0.0:
            text = f"{Path(arrival.file).name} has no instant after 0: no rate to plan with"
            yield ("users", index, "arrival", "file"), text, "add instants, or choose kind: poisson"
            return
    try:
        public = frame_of(chosen, layout, rates_hz)
    except DeadlineError as error:
        where = ("users", error.group, "deadline_s")
        yield where, str(error), "a longer deadline, shorter slots or faster servers"
        return
    options = msgspec.convert(chosen.protocol.options, protocol.options)
    try:
        discipline = protocol.discipline(public, options, lambda: 0.5)
    except ValueError as error:
        text = "lower V, or set guarantee: watchdog, which gives late tasks up"
        yield ("protocol", "V"), str(error), text
        return
    effort = discipline.effort
    rounds = steps(effort, plan_for(effort, public.graph.stations))
    slots, slot_s = chosen.slots, public.slotting.slot_s
    before_s = slots.report_s + rounds * slots.round_s + slots.guard_s
    if before_s >= slot_s:
        text = (
            f"report_s, {rounds} mini-rounds of {slots.round_s:g} s and guard_s take {before_s:g} "
            f"of {slot_s:g} s: no time is left to send"
        )
        yield ("slots", "round_s"), text, "shorter rounds, a longer grant_s, or less effort"
        return
    yield from _bursts(chosen, slot_s - before_s, slot_s)


def _bursts(chosen: Scenario, left_s: float, slot_s: float) -> Iterator[Complaint]:
    """Checks that a burst in what is left of a slot carries more than its header, and a task's
    bursts reach their server by its deadline, on the best channel that there can be."""
    assert isinstance(chosen.channel, channel_kinds.AdaptiveChannel), "checked with the scenario"
    assert chosen.control is not None, "checked with the scenario"
    told_s = chosen.control.channel.least_s(SlotGrant(0, 0, 0.0, ()).size_bits)
    told_s += chosen.control.gather_s or 0.0
    best_bps = chosen.channel.bandwidth_hz * chosen.channel.efficiency_max
    room_bits = best_bps * (left_s - told_s) - HEADER_BITS
    if room_bits <= REST_MIN_BITS:
        text = f"at best {best_bps:g} bit/s, {left_s:.3g} s of a slot carry but a header"
        yield (
            ("base_stations", 0, "grant_s"),
            text,
            f"longer slots: a header has {HEADER_BITS:g} bit",
        )
        return
    for index, user in enumerate(chosen.users):
        slots = math.ceil(user.input_bits / room_bits)
        if user.deadline_s is not None and user.cpu is None and slots * slot_s > user.deadline_s:
            text = (
                f"a task of {user.input_bits:g} bit takes {slots} slots of {slot_s:g} s at best: "
                f"a slot carries {room_bits:.4g} bit beside its header of {HEADER_BITS:g}"
            )
            yield ("users", index, "input_bits"), text, "smaller tasks, or a longer deadline_s"
