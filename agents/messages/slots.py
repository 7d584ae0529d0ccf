"""What is said where base stations schedule slots: views, the allocation of channels, bursts.

All but `Burst` carry the slot; what is of another slot is ignored. `number` is the mini-round of
the allocation: of the greedy phase in `Table`, of the re-optimisation elsewhere; `epoch` is that
of the membership. Users and channels are numbers there, see `todg/allocation/conflict_graph.py`.
What they are for: docs/todg.md, One slot.
"""

from msgspec import Struct

from agents.tasks import HEADER_BITS, Task


class Sense(Struct, frozen=True, gc=False, tag="sense", array_like=True):
    """To `@radio`: how good are the channels to that base station now?"""

    bs: str


class Sensed(Struct, frozen=True, gc=False, tag="sensed", array_like=True):
    """From `@radio`: what each channel carries now, in bit/s; 0 in a blackout."""

    bs: str
    rates_bps: tuple[float, ...]


class QueueReport(Struct, frozen=True, gc=False, tag="queue-report", array_like=True):
    """A user tells its base station what it could send in this slot.

    `backlog` whole tasks, `persistence` is Z of the queue, `rest_bits` what the head still needs;
    `head_due_s` is when the head's deadline falls.
    """

    slot: int
    backlog: int
    persistence: float
    rest_bits: float
    head_due_s: float
    rates_bps: tuple[float, ...]

    @property
    def size_bits(self) -> float:
        return HEADER_BITS + 112.0 + 32.0 * len(self.rates_bps)


class Board(Struct, frozen=True, gc=False, tag="board", array_like=True):
    """A server tells its base stations, slot by slot, how many tasks of each kind wait there.

    `slowness` is E[S] as measured over E[S] as declared: 2 says it is twice as slow.
    """

    slot: int
    server: str
    backlog: tuple[int, ...]
    slowness: float = 1.0

    @property
    def size_bits(self) -> float:
        return HEADER_BITS + 32.0 + 32.0 * len(self.backlog)


class SlotGrant(Struct, frozen=True, gc=False, tag="slot-grant", array_like=True):
    """A base station gives a user a channel of this slot, and each task it may finish a server."""

    slot: int
    channel: int
    until_s: float
    servers: tuple[str, ...]

    @property
    def size_bits(self) -> float:
        return HEADER_BITS + 96.0 + 8.0 * len(self.servers)


class Burst(Struct, frozen=True, gc=False, tag="burst", array_like=True):
    """What a user sends in its slot: the tasks whose last bit is in it, and where each goes.

    `bits` counts all that it carries, the part of a task that stays behind included.
    """

    tasks: tuple[Task, ...]
    servers: tuple[str, ...]
    bits: float

    @property
    def size_bits(self) -> float:
        return HEADER_BITS + self.bits


class Allocated(Struct, frozen=True, gc=False, tag="allocated", array_like=True):
    """To `@journal`, in a few slots: what a base station weighed and whom it gave a channel.

    Per user of its own: number, channel held (-1: none), and the weights (float32 per channel).
    """

    slot: int
    bs: str
    users: tuple[int, ...]
    channel: tuple[int, ...]
    weights: bytes


class Table(Struct, frozen=True, gc=False, tag="table", array_like=True):
    """A base station tells a neighbour how far it is, in one mini-round of one slot.

    `top` holds the key of the heaviest undecided vertex of each channel (8 bytes each, little
    endian), `top_heard` the same among the users that the receiver hears; empty when all are 0.
    `won` is the bitmap of the channels that have a winner, `won_heard` of those whose winner the
    receiver hears. `channels` is their number.
    """

    slot: int
    epoch: int
    number: int
    channels: int
    top: bytes
    top_heard: bytes
    won: int
    won_heard: int

    @property
    def is_last_word(self) -> bool:
        return not self.top and not self.top_heard

    @property
    def size_bits(self) -> float:
        carried = 8.0 * (len(self.top) + len(self.top_heard))
        return HEADER_BITS + carried + 2.0 * self.channels


class State(Struct, frozen=True, gc=False, tag="state", array_like=True):
    """A base station tells a leader all it needs of one cell, in one round of one slot.

    Per user: number, who hears it, channel held (-1: none), and for members the price (float32)
    and the weights (float32 per channel). A ring station names only users that hold a channel,
    and no weights. `hears` are the base stations whose users are heard here.
    """

    slot: int
    epoch: int
    number: int
    users: tuple[int, ...]
    heard: tuple[tuple[int, ...], ...]
    hears: tuple[int, ...]
    channel: tuple[int, ...]
    prices: bytes = b""
    weights: bytes = b""

    @property
    def size_bits(self) -> float:
        per_user = 32.0 + 8.0  # number and bitmap of who hears it, channel
        carried = 8.0 * (len(self.prices) + len(self.weights))
        return HEADER_BITS + 32.0 + per_user * len(self.users) + carried


class Propose(Struct, frozen=True, gc=False, tag="propose", array_like=True):
    """A leader asks a member to silence some users, and then at once to let others transmit.

    `acquire` (user, channel) are those that only this cell's own releases make possible.
    `must_answer`: other cells wait for the releases. `prices` (float32 per user of the cell) are
    where the next leader may start.
    """

    slot: int
    epoch: int
    number: int
    release: tuple[int, ...]
    acquire: tuple[tuple[int, int], ...]
    must_answer: bool
    prices: bytes

    @property
    def size_bits(self) -> float:
        vertices = len(self.release) + len(self.acquire)
        return HEADER_BITS + 1.0 + 32.0 * vertices + 8.0 * len(self.prices)


class Released(Struct, frozen=True, gc=False, tag="released", array_like=True):
    """A member confirms a `Propose`: the users it named are silent."""

    slot: int
    epoch: int
    number: int
    size_bits: float = HEADER_BITS


class Commit(Struct, frozen=True, gc=False, tag="commit", array_like=True):
    """A leader gives channels to users of a member, (user, channel), that other cells set free."""

    slot: int
    epoch: int
    number: int
    acquire: tuple[tuple[int, int], ...]

    @property
    def size_bits(self) -> float:
        return HEADER_BITS + 32.0 * len(self.acquire)


AllocationBody = Table | State | Propose | Released | Commit
"""What base stations say to each other while they allocate the channels of a slot."""

SlotControl = QueueReport | Board | SlotGrant | AllocationBody
"""All that is negotiated about a slot."""
