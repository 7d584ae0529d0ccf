"""The scenario: what a YAML file may say, as types.

`checks/source.py` reads the file and explains errors.

SI units, named in the field; no field converts. A group of `count: n` nodes named `x` makes nodes
`x-0` to `x-(n-1)`. `protocol` takes, beside `kind`, the options of that protocol.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emulator.faults.fold import Fault
from emulator.results.measures import METRICS
from emulator.scenario import device_classes
from emulator.scenario.arrival_kinds import Arrivals
from emulator.scenario.channel_kinds import Channel
from emulator.scenario.fields import Distribution, NotNegative, Positive, Probability, Spec

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(-[a-z0-9_]+)*$", max_length=40)]


# What executes tasks


Engine = Literal["torch", "onnx", "onnx-int8"]


class FittedAccelerator(Spec):
    """Service times from a distribution, per task, on a device of speed 1."""

    kind: Literal["fitted"]
    service: Distribution


class NetworkAccelerator(Spec):
    kind: str
    model: str
    students: list[str] = Field(
        [],
        description="Further networks, best first, that a batch gets instead of `model` when its "
        "deadline, shared with those who wait, leaves no time for a better one.",
    )
    engine: Engine = Field(
        "torch",
        description="What runs the network: torch, or ONNX Runtime (the optional part `ort`).",
    )
    batch_max: int = Field(1, ge=1, le=8)


class ReplayAccelerator(NetworkAccelerator):
    """Service times from the measured latencies of a network; no image is looked at."""

    kind: Literal["replay"]


class LiveAccelerator(NetworkAccelerator):
    """Runs the network on the task's image."""

    kind: Literal["live"]
    threads: int = Field(1, ge=1, le=64)


Accelerator = Annotated[
    FittedAccelerator | ReplayAccelerator | LiveAccelerator, Field(discriminator="kind")
]


class Thermal(Spec):
    """A device that has been busy for long takes `slowdown` times as long as a cold one. It heats
    and cools with the time constant `time_s`: after that long the change is 63 % done."""

    slowdown: float = Field(ge=1.0, le=100.0)
    time_s: Positive


class Device(Spec):
    """A server, or a user's own CPU. `speed` 0.1: ten times slower than the reference.

    `device` names a class of `models/devices.py`, which says what is not said here.
    """

    model_config = ConfigDict(json_schema_extra=device_classes.needs_either)

    device: Literal["raspberry", "jetson", "rack"] | None = None
    speed: Positive = 1.0
    accelerator: Accelerator
    thermal: Thermal | None = None
    queue_len_max: int = Field(1000, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _of_class(cls, given: Any) -> Any:
        return device_classes.spelled_out(given)

    @property
    def batch_max(self) -> int:
        """How many tasks it serves at a time."""
        accelerator = self.accelerator
        return 1 if isinstance(accelerator, FittedAccelerator) else accelerator.batch_max


class UserGroup(Spec):
    name: Name
    count: int = Field(1, ge=1, le=100_000)
    priority: int = Field(0, ge=0, le=7, description="0 is the most urgent.")
    weight: Positive = Field(1.0, description="What a second of its peak age counts.")
    value: Positive = Field(1.0, description="What one of its tasks is worth on time.")
    work: Positive = Field(1.0, description="Service of one task, as a multiple of the device's.")
    arrival: Arrivals
    input_bits: Positive = Field(description="Size of one task on the air.")
    deadline_s: Positive | None = None
    drop_late: bool = Field(False, description="Give up tasks still waiting at their deadline.")
    queue_len_max: int = Field(64, ge=1, description="Tasks waiting for a granted channel.")
    cpu: Device | None = Field(None, description="The user's own processor, if it has one.")


class BaseStationGroup(Spec):
    """`dedicated`: every user has a channel of its own. `contention`: users pick one of
    `channels` blindly and may collide. `granted`: users ask, the base station grants for
    `grant_s` at most. `slotted`: every `grant_s` each channel is granted anew, unasked.
    `scheduled`: the same, after users told what waits and how good their channels are; base
    stations that hear each other's users agree on who may have which."""

    name: Name
    count: int = Field(1, ge=1, le=10_000)
    access: Literal["dedicated", "contention", "granted", "slotted", "scheduled"] = "dedicated"
    channels: int | None = Field(None, ge=1, le=4096)
    grant_s: Positive = 0.1


class ServerGroup(Device):
    name: Name
    count: int = Field(1, ge=1, le=10_000)
    backhaul_delay_s: NotNegative | None = Field(
        None, description="Overrides backhaul.delay_s towards these servers."
    )


# What lies between


class Resend(Spec):
    attempts_max: int = Field(4, ge=1, le=1000)
    ack_s: NotNegative = 0.0
    backoff_s: NotNegative = 0.05


class Control(Spec):
    """The radio channel that protocols negotiate over, beside that of the tasks."""

    channel: Channel
    resend: Resend = Resend(attempts_max=1)
    gather_s: NotNegative | None = Field(
        None, description="Messages over one link within so long go as one packet; absent: none do."
    )


class Slots(Spec):
    """With scheduled access: what happens when in a slot of `grant_s`."""

    report_s: Positive = Field(0.005, description="Reports that arrive by then are used.")
    round_s: Positive = Field(0.001, description="Time for one mini-round of the allocation.")
    guard_s: Positive = Field(0.003, description="Bursts end so long before the slot.")


class Backhaul(Spec):
    delay_s: NotNegative = 0.002
    loss: Probability = 0.0


HEAR_ABOUT = "With scheduled access: base stations this near hear a user, and share no channel."


class GeneratedTopology(Spec):
    """Base stations on a grid, users uniformly over the area, servers in a row beside it."""

    kind: Literal["generated"] = "generated"
    area_m: Positive = 500.0
    cells_per_user: int = Field(2, ge=1, le=16)
    servers_per_cell: int | None = Field(
        None, ge=1, description="Each cell reaches its nearest ones; absent: all."
    )
    hear_m: NotNegative = Field(0.0, description=HEAR_ABOUT)


class FileTopology(Spec):
    """A GraphML or node-link JSON file beside the scenario; see docs/scenarios.md."""

    kind: Literal["file"]
    file: str
    hear_m: NotNegative = Field(0.0, description=HEAR_ABOUT)


Topology = Annotated[GeneratedTopology | FileTopology, Field(discriminator="kind")]


# How it is run


class ProtocolChoice(BaseModel):
    """The protocol by name; further keys are its options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """What it is told; a whole number is one, also where YAML reads `1e3` as 1000.0."""
        given = self.model_extra or {}
        whole = {k: int(v) for k, v in given.items() if isinstance(v, float) and v.is_integer()}
        return {**given, **whole}


class Runtime(Spec):
    """`time_scale` 2 takes twice as long as reality. A paced run whose lateness p99 exceeds
    `lateness_max_s` marks itself invalid."""

    kind: Literal["loop", "ray"] = "loop"
    time_scale: Positive = 1.0
    tick_s: Positive = 0.01
    lateness_max_s: Positive = 0.1
    hosts: int | None = Field(None, ge=1, le=256, description="Absent: by the packing rule.")
    connect_max_s: Positive = Field(15.0, description="Wall time to reach a running Ray cluster.")
    start_max_s: Positive = Field(
        60.0, description="Wall time in which Ray here, and then one more host, must come up."
    )


class Expect(Spec):
    """A number that must hold at the end; makes a scenario a test."""

    metric: str = Field(json_schema_extra={"enum": [*METRICS]})
    of: str = Field("all", description="A user group, a server, or 'all'.")
    above: float | None = None
    below: float | None = None


class Scenario(Spec):
    """A scenario file: its attributes are the keys of the file."""

    name: Name
    about: str = ""
    seed: int = Field(ge=0, description="No default: who runs an experiment chooses its seed.")
    duration_s: Positive
    warmup_s: NotNegative = Field(0.0, description="What happens before counts for no metric.")
    protocol: ProtocolChoice
    users: list[UserGroup] = Field(min_length=1)
    base_stations: list[BaseStationGroup] = Field(min_length=1)
    servers: list[ServerGroup] = Field(min_length=1)
    channel: Channel
    downlink: Channel | None = Field(None, description="Absent: the same as `channel`.")
    resend: Resend = Resend()
    control: Control | None = Field(None, description="Absent: protocols use `channel` too.")
    slots: Slots = Slots()
    backhaul: Backhaul = Backhaul()
    topology: Topology = GeneratedTopology()
    beacon_s: Positive = Field(0.1, description="Used by protocols that listen to beacons.")
    report_s: Positive = Field(0.05, description="Used by protocols that hear from servers.")
    faults: list[Fault] = Field([])
    runtime: Runtime = Runtime()
    expect: list[Expect] = Field([])

    @property
    def channels(self) -> list[Channel]:
        control = None if self.control is None else self.control.channel
        return [spec for spec in (self.channel, self.downlink, control) if spec is not None]

    @property
    def sample_s(self) -> float:
        """How often counts and server states are recorded: 400 times a run, 50 ms at least."""
        return max(0.05, self.duration_s / 400.0)
