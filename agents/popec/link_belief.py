"""What a user believes of its radio links: the share of its transmissions that get through.

Every transmission has one outcome, and counts once, in the order of sending: as lost when the link
layer gives the task back, else as got through when its slot has been over for `FEEDBACK_S`. So
neither the order of events at one instant nor the number of channels in a slot matters.

A link that is used no more would never be measured again. Its belief does not outlive its use:
after a while it begins anew from what was known before the run, and the link is tried.
Source: docs/popec.md, It is lived, and it learns.
"""

from collections import deque
from collections.abc import Mapping

from msgspec import Struct

from agents.messages import NodeId
from agents.popec.success import SuccessEstimate

FEEDBACK_S = 0.1  # no loss is told later than this after the end of its slot
SUCCESS_MIN = 1e-3  # a radio link below it is not worth an edge
# What is acted on follows what is measured when they are so many standard errors apart, and else
# whenever there is a tenth more to go by; but departures by less than this share change nothing.
NEWS_ERRORS, NEWS_GROWTH, NEWS_SHARE = 2.0, 1.1, 0.01
ENOUGH = 20.0  # outcomes, to believe what is not certain yet
RETRY_S = 1.0  # an unused link that became worse is tried again after so long, then half as often
RETRY_MAX_S = 64.0
UNUSED = 0.1  # transmissions expected until the next try; with more it is measured anyway
PROVEN = 50.0  # outcomes that agree; a link that is half as good as known for so long is back
DEAD = 18.0  # successes that were due since the last one: exp(-18) is chance no more


class _Pending(Struct):
    seq: int  # of the task
    until_s: float  # when its slot is over
    is_lost: bool = False


class LinkBelief:
    """One radio link. `nominal` is its success probability as known before the run."""

    def __init__(self, nominal: float) -> None:
        self._nominal = self.success = max(nominal, SUCCESS_MIN)  # as acted on
        self.estimate = SuccessEstimate(self._nominal)
        self._pending: deque[_Pending] = deque()  # in the order of sending
        self._looked = 0.0  # the weight of the estimate when it was last compared with `success`
        self._quiet_s = 0.0  # when it was last used, or begun anew
        self._retry_s = RETRY_S

    def sent(self, seq: int, until_s: float) -> None:
        self._pending.append(_Pending(seq, until_s))

    def lost(self, seq: int) -> None:
        """Is told that a transmission failed; what a former life sent is not known."""
        for pending in reversed(self._pending):  # a task may be sent again: the last time counts
            if pending.seq == seq:
                pending.is_lost = True
                return

    def settle(self, share_hz: float, now_s: float) -> bool:
        """Counts the outcomes that are known by now; says whether `success` changed.

        `share_hz` is how often the link is to be used as things are.
        """
        before = self.success
        while self._pending:
            oldest = self._pending[0]
            if not oldest.is_lost and now_s <= oldest.until_s + FEEDBACK_S:
                break
            self._pending.popleft()
            self._count(not oldest.is_lost, oldest.until_s)
            self._quiet_s = now_s
        if self._is_forgotten(share_hz, now_s):
            self._begin_anew(now_s)
        return self.success != before

    def _count(self, got_through: bool, at_s: float) -> None:
        estimate = self.estimate
        estimate.observe(got_through, at_s)
        if estimate.weight >= PROVEN and estimate.mean > 0.5 * self._nominal:
            self._retry_s = RETRY_S
        if estimate.losses_in_a_row * self._nominal > DEAD:
            self.success = SUCCESS_MIN
            return
        gap, weight = abs(estimate.mean - self.success), estimate.weight
        is_due = weight > ENOUGH and not self._looked <= weight <= NEWS_GROWTH * self._looked
        if is_due or gap > NEWS_ERRORS * estimate.error:
            self._looked = weight
            if gap > NEWS_SHARE * self.success:
                self.success = max(estimate.mean, SUCCESS_MIN)

    def _is_forgotten(self, share_hz: float, now_s: float) -> bool:
        if self._pending or self.success >= self._nominal or now_s - self._quiet_s < self._retry_s:
            return False
        return self.success <= SUCCESS_MIN or share_hz * self._retry_s < UNUSED

    def _begin_anew(self, now_s: float) -> None:
        self.estimate = SuccessEstimate(self._nominal)
        self.success = self._nominal
        self._looked = 0.0
        self._quiet_s = now_s
        self._retry_s = min(2.0 * self._retry_s, RETRY_MAX_S)


class LinkBeliefs:
    """Those of the links in `nominal`; of others it takes no notice."""

    def __init__(self, nominal: Mapping[NodeId, float]) -> None:
        self._links = {bs: LinkBelief(success) for bs, success in nominal.items()}

    @property
    def success(self) -> dict[NodeId, float]:
        return {bs: link.success for bs, link in self._links.items()}

    def sent(self, bs: NodeId, seq: int, until_s: float) -> None:
        if bs in self._links:
            self._links[bs].sent(seq, until_s)

    def lost(self, bs: NodeId, seq: int) -> None:
        if bs in self._links:
            self._links[bs].lost(seq)

    def settle(self, shares_hz: Mapping[NodeId, float], now_s: float) -> dict[NodeId, float]:
        """Counts the outcomes that are known by now; returns what is believed anew of which."""
        return {
            bs: link.success
            for bs, link in self._links.items()
            if link.settle(shares_hz[bs], now_s)
        }
