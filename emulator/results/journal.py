"""The journal: what happened, in order, and its digest.

A file of frames, each a four-byte length and one step in msgpack, so that a torn last frame costs
nothing before it. Every metric, plot and table is a fold of these records. The digest
covers every record: equal seeds give equal digests in virtual time.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from agents.messages import NodeId, ServerReport, TaskEnd
from agents.messages.slots import Allocated

NAME = "journal.msgpack"


class LinkCount(Struct, tag="link-count", array_like=True):
    """Radio or backhaul attempts of one cell since the count before."""

    at_s: float
    bs: NodeId
    kind: str
    attempts: int = 0
    bits: float = 0.0
    losses: dict[str, int] = {}


class Readings(Struct, frozen=True, tag="readings", array_like=True):
    """What the policies of one host's nodes report, added up; `host` is the first node's name."""

    at_s: float
    host: NodeId
    values: dict[str, float]


class Timed(Struct, frozen=True, tag="timed", array_like=True):
    """Live inferences of one host since the record before, timed by a stopwatch.

    `cpu_s` is what its core took, `trace_s` what the traces say of the same batches on average.
    `host` is the first node's name.
    """

    at_s: float
    host: NodeId
    cpu_s: float
    trace_s: float


class FaultChange(Struct, frozen=True, tag="fault", array_like=True):
    """A fault began, changed or was healed. `fault` is its description as in the scenario.

    `patch` changes what it does, `extend` only how long.
    """

    at_s: float
    op: Literal["begin", "patch", "extend", "heal"]
    number: int  # its place in the scenario; beyond it: injected while the run went on
    fault: dict[str, object]


class Presence(Struct, frozen=True, tag="presence", array_like=True):
    """A user left, or joined again: whose age is counted."""

    at_s: float
    user: NodeId
    is_present: bool


class Remains(Struct, frozen=True, tag="remains", array_like=True):
    """At the end: tasks still in flight, and how many each user generated in all."""

    at_s: float
    in_flight: list[tuple[NodeId, int]]
    generated: dict[NodeId, int]


class HostLost(Struct, frozen=True, tag="host-lost", array_like=True):
    """A host died; its nodes and the tasks they held are gone."""

    at_s: float
    host: str
    nodes: list[NodeId]
    cause: str


Record = (
    TaskEnd
    | ServerReport
    | LinkCount
    | Readings
    | Timed
    | FaultChange
    | Presence
    | Allocated
    | Remains
    | HostLost
)


class Frame(Struct, frozen=True, array_like=True):
    """What was recorded in one step of the run, up to `now_s`."""

    now_s: float
    records: list[Record]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


class Unwritten(RuntimeError):
    """Something could not be recorded; what was recorded before it is whole."""


class Log:
    """A file that grows by whole pieces: one that does not fit is taken back."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        self._file = path.open("wb", buffering=0)  # what is appended is on its way to the disk

    def append(self, piece: bytes) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
                self._file.seek(self._size)
            why = error.strerror or str(error)
            raise Unwritten(f"{self._path} could not be written any further: {why}") from error
        self._size += len(piece)

    def close(self) -> None:
        self._file.close()


class Writer:
    """Appends records to a journal; what was written survives the writer's death."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` None keeps the digest only."""
        self._file = None if folder is None else Log(folder / NAME)
        self._hash = blake2b(digest_size=16)
        self.count = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, frame: Frame) -> None:
        packed = encode(frame)
        if self._file is not None:
            self._file.append(len(packed).to_bytes(4, "big") + packed)
        self._hash.update(packed)
        self.count += len(frame.records)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def read_frames(folder: Path) -> Iterator[Frame]:
    """Reads a journal to its end, or to a frame that its writer did not finish."""
    with (folder / NAME).open("rb") as file:
        while len(head := file.read(4)) == 4:
            size = int.from_bytes(head, "big")
            packed = file.read(size)
            if len(packed) < size:
                return
            yield _decoder.decode(packed)


def encode(frame: Frame) -> bytes:
    """Packs a frame, for the disk or for the way from a host to the driver."""
    return _encoder.encode(frame)


def decode(packed: bytes) -> Frame:
    return _decoder.decode(packed)
