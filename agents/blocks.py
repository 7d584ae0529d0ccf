"""Blocks of time: the slots, coherence times and periods into which equal spans divide a run.

Everything that is constant over a block asks here which block an instant lies in, so that all agree
at a border, where floats alone do not: 1.7 / 0.1 is just above 17 and 0.9 / 0.3 just above 3, but
3 * 0.3 / 0.3 is just below.
"""

import math

ROUNDING = 1e-6
"""Of a block: what lies so little before a border is at it.

An instant at border k is computed by some ten roundings at most (a product, or a begin and a few
airtimes, and the division here), each of 2^-53 of the instant: it misses k by 1e-15 k, which is
within a millionth up to a billion blocks. What truly falls into the last millionth of a block is
taken for the next one, a millionth of all instants.
"""
BEGIN_DIGITS = 10  # blocks begin on tenths of a nanosecond, faults on nanoseconds: they can meet


def block_of(time_s: float, block_s: float) -> int:
    """Returns the number of the block that an instant lies in; at a border, that which begins."""
    return math.floor(time_s / block_s + ROUNDING)


def next_block(time_s: float, block_s: float) -> int:
    """Returns the first block that begins no earlier than an instant."""
    return math.ceil(time_s / block_s - ROUNDING)


def begin_of(block: int, block_s: float, offset_s: float = 0.0) -> float:
    """Returns when a block begins, or what is so long after that.

    A product, as sums of blocks would drift; and the float that its decimals mean, so that a fault
    at 0.9 s is felt by the block 3 of 0.3 s, which 3 * 0.3 would let begin a moment before it.
    """
    return round(block * block_s + offset_s, BEGIN_DIGITS)
