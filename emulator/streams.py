"""Named random streams: every draw of a run comes from one of these.

A stream is named after what it decides ("loss", "user-3", "bs-0"), so that what one part of the
world draws never shifts what another part draws: adding a fault, a link or a protocol leaves all
other randomness as it was, and comparisons between protocols are paired. Generators are keyed by
a hash of (seed, name): equal streams on every machine and under every PYTHONHASHSEED.
"""

from hashlib import blake2b
from random import Random

import numpy as np

from agents.tasks import Uniform

FIELD_CHUNK = 256


class Streams:
    """All random streams of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, *name: str) -> Uniform:
        """Returns the stream of that name: each call draws from [0, 1), at about 30 ns."""
        return Random(self._key(name)).random

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
