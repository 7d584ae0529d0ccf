"""Named random streams: every draw of a run comes from one of these.

A stream is named after what it decides ("loss", "user-3", "bs-0"), so that what one part of the
world draws never shifts what another part draws: adding a fault, a link or a protocol leaves all
other randomness as it was, and comparisons between protocols are paired. Philox is keyed by a
hash of (seed, name); it gives equal streams on every machine and under every PYTHONHASHSEED.
"""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain

import numpy as np

from agents.tasks import Uniform

FIRST_CHUNK = 8  # most streams of a short run are drawn from only a few times
LAST_CHUNK = 1024  # above this a larger chunk no longer lowers the cost per draw
FIELD_CHUNK = 256


class Streams:
    """All random streams of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, *name: str) -> Uniform:
        """Returns the stream of that name: each call draws from [0, 1), at about 50 ns."""
        rng = np.random.Generator(np.random.Philox(key=self._key(name)))

        def chunks() -> Iterator[list[float]]:
            size = FIRST_CHUNK
            while True:
                yield rng.random(size).tolist()
                size = min(2 * size, LAST_CHUNK)

        return chain.from_iterable(chunks()).__next__

    def field(self, *name: str) -> "Field":
        """Returns a random field over block numbers: a pure function of (seed, name, block)."""
        return Field(self._key(name))

    def _key(self, name: tuple[str, ...]) -> int:
        text = "/".join((str(self.seed), *name)).encode()
        return int.from_bytes(blake2b(text, digest_size=16).digest(), "little")


class Field:
    """Independent exponential values of mean one, one per block; blocks in any order."""

    def __init__(self, key: int) -> None:
        self._key = key
        self._chunk = -1
        self._values: list[float] = []

    def __call__(self, block: int) -> float:
        chunk, index = divmod(block, FIELD_CHUNK)
        if chunk != self._chunk:
            # The chunk number is the high word of Philox's counter: chunks never overlap.
            philox = np.random.Philox(key=self._key, counter=chunk << 128)
            self._values = np.random.Generator(philox).standard_exponential(FIELD_CHUNK).tolist()
            self._chunk = chunk
        return self._values[index]
