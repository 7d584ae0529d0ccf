"""How long answers take, and how many asks are answered: when to ask again, when to give up.

Source: docs/popec.md, Asynchronous. The estimators are those of TCP (RFC 6298).
"""

import math

FALSE_DEATH = 1e-6  # a peer is given up when that many asks lost in a row are this improbable
ANSWER_GAIN = 0.02  # of the running share of asks that are answered
ANSWERED_MAX = 0.95  # who is answered always still waits for more than one answer
RTT_FIRST_S = 0.02  # a guess; the first answers correct it
RTO_MIN_S = 0.01


class RoundTrips:
    """One user's estimates, over all its peers together."""

    def __init__(self) -> None:
        self._smooth_s, self._spread_s = RTT_FIRST_S, 0.5 * RTT_FIRST_S
        self._answered = 0.9

    def hear(self, after_s: float, tries: int) -> None:
        """Takes in an answer, so long after the last of so many asks."""
        if tries == 1:  # Karn: an answer to a repeated ask says nothing of the round trip
            self._spread_s += 0.25 * (abs(after_s - self._smooth_s) - self._spread_s)
            self._smooth_s += 0.125 * (after_s - self._smooth_s)
        for _ in range(tries - 1):
            self._answered *= 1.0 - ANSWER_GAIN
        self._answered += ANSWER_GAIN * (1.0 - self._answered)

    @property
    def timeout_s(self) -> float:
        return max(RTO_MIN_S, self._smooth_s + 2.0 * self._spread_s)

    def is_dead(self, tries: int, silent_s: float, dead_s: float) -> bool:
        """Says whether a peer is to be given up that left so many asks unanswered so long."""
        tries_max = math.log(FALSE_DEATH) / math.log(1.0 - min(self._answered, ANSWERED_MAX))
        return tries > tries_max and silent_s > dead_s * max(1.0, self._smooth_s / RTT_FIRST_S)
