"""One Ray actor: a kernel on scaled wall time, with its mail to and from the other hosts.

The class is synchronous on purpose: one coroutine anywhere in it and Ray stops keeping messages
in order. Three threads meet here: Ray's `mail` thread appends to the inbox, Ray's `ctl` thread
takes finished reports, and the host's own thread does everything else; they share only deques and
an event, so there is no lock.
"""

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
import ray
from msgspec import Struct

from agents.api import Message, NodeId
from emulator.build.assemble import assemble
from emulator.build.plan import Plan
from emulator.faults.activation import FaultOrder
from emulator.results import journal
from emulator.results.journal import Frame
from emulator.runtime.loop import remains
from emulator.sim.air import Flight
from emulator.sim.clock import Order, Pace

FLUSH_S = 0.002  # wall; batching by 2 ms costs 5 us a message instead of 500
REPORT_S = 0.1  # wall; how much a crash can lose
IN_TRANSIT_MAX = 64  # frames to one host that it has not taken yet; then mail waits here
SILENCE_S = 10.0  # wall; nobody waits longer for an order to take effect
OUTBOX_MAX = 200_000  # messages for one host; beyond it the run is far past saving


class Mail(Struct, frozen=True, array_like=True):
    """What one host sends another in one call. `number` rises by one with each."""

    host: str
    number: int
    messages: list[tuple[float, Message]]
    flights: list[tuple[float, Flight]]


class Report(Struct, frozen=True):
    """What the driver fetches: finished frames, lateness so far, and why the host stopped."""

    frames: list[bytes]
    lateness: list[int]
    crash: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Mail)


class Outbox:
    """Mail for one other host."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.messages: list[tuple[float, Message]] = []
        self.flights: list[tuple[float, Flight]] = []
        self.sent = 0
        self.in_transit: list[Any] = []

    def __len__(self) -> int:
        return len(self.messages) + len(self.flights)


class Host:
    """Carries the named nodes. Made by `cluster.py`, which calls its methods in the order below.

    Many attributes: what its three threads hand each other.
    """

    def __init__(self, name: str, plan: Plan, names: list[NodeId], host_of: dict[NodeId, str]):
        self._name = name
        self._plan = plan
        self._names = names
        self._host_of = host_of
        runtime, end_s = plan.scenario.runtime, plan.scenario.duration_s
        self._pace = Pace(runtime.time_scale, runtime.tick_s, end_s)
        self._peers: Mapping[str, Any] = {}
        self._inbox: deque[bytes] = deque()
        self._outboxes = {
            host: Outbox(host) for host in sorted(set(host_of.values())) if host != name
        }
        self._taken = 0  # frames of mail taken in
        self._orders: deque[tuple[list[Order], threading.Event]] = deque()
        self._waiting: list[tuple[float, threading.Event]] = []  # for orders to be in effect
        self._reports: deque[bytes] = deque()
        self._rouse = threading.Event()
        self._prepared = threading.Event()
        self._begun = threading.Event()
        self._halted = threading.Event()
        self._halting = False
        self._crash = ""

    @ray.method(concurrency_group="ctl")
    def prepare(self) -> tuple[int, str]:
        """Makes the nodes and loads their networks; returns process id and Ray node."""
        threading.Thread(target=self._guard, name="host", daemon=True).start()
        self._prepared.wait()
        if self._crash:
            raise RuntimeError(self._crash)
        return os.getpid(), ray.get_runtime_context().get_node_id()

    @ray.method(concurrency_group="ctl")
    def begin(self, peers: dict[str, Any], epoch_s: float) -> None:
        """Lets emulated time be zero at the wall time `epoch_s`."""
        self._peers = peers
        self._pace.begin(epoch_s)
        self._begun.set()

    @ray.method(concurrency_group="mail")
    def mail(self, packed: bytes) -> None:
        self._inbox.append(packed)
        self._rouse.set()

    @ray.method(concurrency_group="ctl")
    def report(self) -> bytes:
        """Hands over what was finished since the last call; also the sign of life."""
        return self._pack()

    @ray.method(concurrency_group="ctl")
    def steer(self, orders: list[Order]) -> None:
        """Takes changes of faults and clock; returns once all are in effect."""
        in_effect = threading.Event()
        self._orders.append((orders, in_effect))
        self._rouse.set()
        in_effect.wait(SILENCE_S)

    @ray.method(concurrency_group="ctl")
    def halt(self) -> None:
        """Stops the host's thread at the end of emulated time."""
        self._halting = True
        self._rouse.set()
        self._halted.wait()

    @ray.method(concurrency_group="ctl")
    def settle(self, expected: int) -> dict[str, int]:
        """After `halt`: takes in mail that was on its way; says how much was sent to whom."""
        give_up_s = time.monotonic() + 5.0
        while self._taken + len(self._inbox) < expected and time.monotonic() < give_up_s:
            time.sleep(0.001)
        self._turn()
        self._flush()
        return {host: outbox.sent for host, outbox in self._outboxes.items()}

    @ray.method(concurrency_group="ctl")
    def stock(self) -> bytes:
        """After the last `settle`: the last records, and what is still in flight."""
        end_s = self._pace.now_s()
        records = self._kernel.take_records(end_s)
        self._reports.append(journal.encode(Frame(end_s, [*records, remains(self._kernel, end_s)])))
        return self._pack()

    def _pack(self) -> bytes:
        frames = [self._reports.popleft() for _ in range(len(self._reports))]
        return _encoder.encode(Report(frames, self._pace.lateness.counts, self._crash))

    def _guard(self) -> None:
        try:
            # Here and not in `prepare`: torch's count of threads is a property of this thread.
            self._kernel = assemble(self._plan, self._names, self._pace, self._post, _die)
            self._kernel.warm_up()
            self._prepared.set()
            self._begun.wait()
            self._run()
        except Exception:
            self._crash = traceback.format_exc(limit=-4)
        finally:
            self._prepared.set()
            self._halted.set()

    def _run(self) -> None:
        kernel, pace = self._kernel, self._pace
        time.sleep(max(0.0, pace.wall_s(-pace.now_s())))
        kernel.start()
        flush_due_s = report_due_s = time.monotonic()
        while not self._halting:
            self._rouse.clear()
            self._turn()
            now_s = time.monotonic()
            has_mail = any(map(len, self._outboxes.values()))
            if has_mail and now_s >= flush_due_s:
                self._flush()
                has_mail = False
                flush_due_s = now_s + FLUSH_S
            if now_s >= report_due_s:
                at_s = pace.now_s()
                self._reports.append(journal.encode(Frame(at_s, kernel.take_records(at_s))))
                report_due_s = now_s + REPORT_S
            idle_s = report_due_s - now_s
            if has_mail:
                idle_s = min(idle_s, flush_due_s - now_s)
            if kernel.next_s is not None and not pace.held:
                idle_s = min(idle_s, pace.wall_s(kernel.next_s - pace.now_s()))
            if idle_s > 0.0:
                self._rouse.wait(idle_s)

    def _turn(self) -> None:
        """Takes in the mail and performs what is due."""
        kernel = self._kernel
        while self._inbox:
            mail = _decoder.decode(self._inbox.popleft())
            self._taken += 1
            for at_s, message in mail.messages:
                kernel.accept(message, at_s)
            for at_s, flight in mail.flights:
                kernel.accept(flight, at_s)
        while self._orders:
            orders, in_effect = self._orders.popleft()
            for order in orders:
                if isinstance(order, FaultOrder):
                    kernel.steer(order)
                else:
                    self._pace.obey(order)
            holds_s = max((order.at_s for order in orders), default=0.0)
            self._waiting.append((holds_s, in_effect))
        now_s = self._pace.now_s()
        kernel.run_until(now_s)
        if self._waiting:
            for at_s, in_effect in self._waiting:
                if at_s <= now_s:
                    in_effect.set()
            self._waiting = [(at_s, event) for at_s, event in self._waiting if not event.is_set()]

    def _post(self, parcel: Message | Flight, at_s: float, to: NodeId) -> None:
        """Puts what is for the host of the node `to` into its outbox."""
        outbox = self._outboxes[self._host_of[to]]
        if isinstance(parcel, Message):
            outbox.messages.append((at_s, parcel))
        else:
            outbox.flights.append((at_s, parcel))

    def _flush(self) -> None:
        for outbox in self._outboxes.values():
            if not len(outbox):
                continue
            if len(outbox.in_transit) >= IN_TRANSIT_MAX:
                refs = outbox.in_transit
                _, outbox.in_transit = ray.wait(refs, num_returns=len(refs), timeout=0)
                if len(outbox.in_transit) >= IN_TRANSIT_MAX:
                    if len(outbox) > OUTBOX_MAX:
                        raise RuntimeError(f"host {outbox.host} takes no mail any more")
                    continue
            mail = Mail(self._name, outbox.sent, outbox.messages, outbox.flights)
            outbox.messages, outbox.flights = [], []
            outbox.sent += 1
            ref = self._peers[outbox.host].mail.remote(_encoder.encode(mail))
            outbox.in_transit.append(ref)


def _die() -> None:
    """Ends this process as `kill -9` does: nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)


def unpack(packed: bytes) -> Report:
    return msgspec.msgpack.decode(packed, type=Report)
