"""The negotiating policies of PoPeC by themselves, fed by hand.

No kernel and no network: `Fed` keeps a policy's wakes and plays them when a test lets time pass.
All claims are those of docs/popec.md. Nothing is drawn at random.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest

from agents.api import CLOCK, Message, Send, Unhandled
from agents.messages import Ask, Body, Hint, Join, NodeId, Share, Wake
from agents.moments import Moments
from agents.policy import Cell, CellView, Policy, Reach, ServerView, UserView
from agents.popec.options import AsynchronousOptions, Options
from agents.popec.resource import CHANGE, MISSED_MAX, NegotiatingCell, NegotiatingServer
from agents.popec.user import JOIN_S, JOINS_MAX, NegotiatingUser

CELLS = ("bs-0", "bs-1")
SERVERS = ("edge-0", "edge-1")
PEERS = (*CELLS, *SERVERS)
SUCCESS = {"bs-0": 0.8, "bs-1": 0.4}
REACHES = (Reach("edge-0", 0.002, 1.0, 0.01, 2e-4), Reach("edge-1", 0.002, 0.5, 0.02, 8e-4))
HINT_S = 0.03  # when hints are out: later than any resource collects joins
FIRST_ASK_S = 0.1  # when the tests of resources begin
RTT_S = 0.004  # of the answers that tests give
ROUND_S = 0.003  # a resource's round is over so soon after its barrier fell


class Said(NamedTuple):
    """What a policy sent, and when."""

    at_s: float
    to: NodeId
    body: Body


class Fed:
    """A policy whose time and mail come from a test."""

    def __init__(self, policy: Policy, now_s: float = 0.0) -> None:
        self.policy = policy
        self.now_s = now_s
        self.said: list[Said] = []
        self._wakes: list[Wake] = []
        self.take(policy.start(now_s))

    def hear(self, source: NodeId, *heard: Body) -> list[Said]:
        """Delivers messages; returns what was answered at once."""
        before = len(self.said)
        for body in heard:
            message = Message(source, "me", self.now_s, body, 1, "bs-0")
            self.take(self.policy.on_message(message, self.now_s))
        return self.said[before:]

    def pass_until(self, end_s: float) -> list[Said]:
        """Plays every wake due by then, in order; returns what was said meanwhile."""
        before = len(self.said)
        while due := [wake for wake in self._wakes if wake.at_s <= end_s]:
            wake = min(due, key=lambda wake: wake.at_s)
            self._wakes.remove(wake)
            self.now_s = max(self.now_s, wake.at_s)
            self.take(self.policy.on_tick(wake, self.now_s))
        self.now_s = end_s
        return self.said[before:]

    def take(self, sends: Sequence[Send]) -> None:
        for send in sends:
            if send.target != CLOCK:
                self.said.append(Said(self.now_s, send.target, send.body))
                continue
            assert isinstance(send.body, Wake)
            assert send.body.at_s >= self.now_s
            self._wakes.append(send.body)


def asks(said: Sequence[Said]) -> dict[NodeId, Ask]:
    """Returns the last ask to each peer."""
    return {each.to: each.body for each in said if isinstance(each.body, Ask)}


def shares(said: Sequence[Said]) -> dict[NodeId, Share]:
    """Returns the last share of each member."""
    return {each.to: each.body for each in said if isinstance(each.body, Share)}


# The user


def new_user(options: Options, now_s: float = 0.0) -> Fed:
    """A user that has not heard any hint yet."""
    cells = [
        Cell(bs, 10.0, "slotted", REACHES, success=SUCCESS[bs], airtime_s=0.02) for bs in CELLS
    ]
    view = UserView("user-0", cells, priority=1, weight=2.0)
    return Fed(NegotiatingUser(view, lambda: 0.5, options), now_s)


def begun_user(**changes: float | bool) -> tuple[Fed, dict[NodeId, Ask]]:
    """A user that has its hints, and its first asks; uncensored unless told otherwise."""
    options = AsynchronousOptions(**({"censor": 0.0, "censor_min": 0.0} | changes))  # type: ignore[arg-type]
    user = new_user(options)
    return user, hinted(user)


def hinted(user: Fed) -> dict[NodeId, Ask]:
    """Gives a new user its hints; returns its first asks."""
    user.pass_until(user.now_s + HINT_S)
    for bs in CELLS:
        user.hear(bs, Hint(20.0))
    for reach in REACHES:
        user.hear(reach.server, Hint(8.0, reach.mean_s))
    first = asks(user.said)
    assert first.keys() == set(PEERS)
    return first


def share(ask: Ask, rate_hz: float) -> Share:
    return Share(ask.seq, rate_hz, 0.01, 0.01)


def policy_of(user: Fed) -> NegotiatingUser:
    assert isinstance(user.policy, NegotiatingUser)
    return user.policy


def state_hz(user: Fed, peer: NodeId) -> float:
    """Looks inside: t, which no message shows."""
    return policy_of(user).peers.edges[peer].target_hz


def next_asks(user: Fed) -> dict[NodeId, Ask]:
    """Lets the user think, but not run into a time-out."""
    return asks(user.pass_until(user.now_s + RTT_S))


def answered_with(*of_bs_0_hz: float) -> tuple[Fed, dict[NodeId, Ask]]:
    """A user that got these shares of bs-0 for one ask, and one of each other; its next asks."""
    user, first = begun_user()
    user.pass_until(user.now_s + RTT_S)
    for rate_hz in of_bs_0_hz:
        user.hear("bs-0", share(first["bs-0"], rate_hz))
    for peer in PEERS[1:]:
        user.hear(peer, share(first[peer], 5.0))
    return user, next_asks(user)


def test_a_share_is_applied_once_however_often_it_comes() -> None:
    once, asked_once = answered_with(4.0)
    thrice, asked_thrice = answered_with(4.0, 4.0, 4.0)

    assert asked_thrice == asked_once
    assert state_hz(thrice, "bs-0") == state_hz(once, "bs-0")
    # And it was applied: a user that was given something else wishes for something else.
    _, asked_other = answered_with(5.0)
    assert asked_other["bs-0"].rate_hz != pytest.approx(asked_once["bs-0"].rate_hz, rel=1e-3)


def test_a_duplicate_makes_a_user_that_has_answered_say_nothing() -> None:
    user, first = begun_user()
    user.pass_until(user.now_s + RTT_S)
    for peer in PEERS:
        user.hear(peer, share(first[peer], 5.0))
    second = next_asks(user)
    for peer in PEERS:
        user.hear(peer, share(second[peer], 5.0))
    next_asks(user)
    state = [state_hz(user, peer) for peer in PEERS]
    rates_hz = dict(policy_of(user).grants_hz), dict(policy_of(user).splits_hz)

    # The answers to the asks before the last come again, late, and say something else.
    said = [each for peer in PEERS for each in user.hear(peer, share(second[peer], 9.0))]
    said += [each for peer in PEERS for each in user.hear(peer, share(first[peer], 1.0))]

    assert not said
    assert not asks(user.pass_until(user.now_s + RTT_S))
    assert [state_hz(user, peer) for peer in PEERS] == state
    assert (policy_of(user).grants_hz, policy_of(user).splits_hz) == rates_hz


def test_a_later_share_for_the_same_ask_replaces_the_step() -> None:
    changed, asked_changed = answered_with(4.0, 7.0)
    straight, asked_straight = answered_with(7.0)

    assert state_hz(changed, "bs-0") == pytest.approx(state_hz(straight, "bs-0"), rel=1e-12)
    for peer in PEERS:
        assert asked_changed[peer].rate_hz == pytest.approx(asked_straight[peer].rate_hz, rel=1e-12)
    _, asked_first = answered_with(4.0)
    assert asked_changed["bs-0"].rate_hz != pytest.approx(asked_first["bs-0"].rate_hz, rel=1e-3)


def test_a_step_is_eta_times_what_was_granted_beyond_the_copy() -> None:
    # t becomes t + 1.6 (z - x): twice a step of z moves t by 1.6 times that step.
    low, _ = answered_with(4.0)
    high, _ = answered_with(6.0)

    moved_hz = state_hz(high, "bs-0") - state_hz(low, "bs-0")
    assert moved_hz == pytest.approx(1.6 * (6.0 - 4.0), rel=1e-12)


def test_a_user_thinks_when_its_quorum_has_answered_and_not_before() -> None:
    user, first = begun_user(quorum=0.5)
    user.pass_until(user.now_s + RTT_S)

    user.hear("bs-0", share(first["bs-0"], 5.0))
    assert not next_asks(user)  # one of four
    user.hear("edge-0", share(first["edge-0"], 5.0))

    # Two of four; only those that are not open are asked.
    assert next_asks(user).keys() == {"bs-0", "edge-0"}


def test_a_user_acts_on_shares_and_never_on_its_wishes() -> None:
    user, first = begun_user()
    assert policy_of(user).rate_hz == 0.0
    user.hear("bs-0", share(first["bs-0"], 5.0))
    assert policy_of(user).rate_hz == 0.0  # no server yet
    user.hear("edge-0", share(first["edge-0"], 3.0))
    assert policy_of(user).rate_hz == 3.0
    user.hear("edge-1", share(first["edge-1"], 30.0))
    assert policy_of(user).rate_hz == pytest.approx(0.8 * 5.0)


def test_a_user_without_all_hints_joins_again_and_then_begins_with_those_it_has() -> None:
    user = new_user(AsynchronousOptions())
    user.hear("bs-0", Hint(20.0))
    user.hear("edge-1", Hint(8.0, 0.02))

    said = user.pass_until(JOINS_MAX * JOIN_S + 0.01)

    joins = [each.to for each in said if isinstance(each.body, Join)]
    assert sorted(joins) == ["bs-1"] * JOINS_MAX + ["edge-0"] * JOINS_MAX
    assert asks(said).keys() == set(PEERS)  # what is missing is taken to be like the others


class Obliging:
    """Peers that give what is asked, at most `most_hz` each, `RTT_S` later; some fall silent."""

    def __init__(self, user: Fed, most_hz: dict[NodeId, float]) -> None:
        self.user = user
        self.most_hz = most_hz
        self.silent: set[NodeId] = set()
        self.asked: list[Said] = []
        self._said = 0

    def until(self, end_s: float) -> list[Said]:
        """Lets time pass in steps of a round trip; returns the asks meanwhile."""
        before = len(self.asked)
        while self.user.now_s < end_s - 1e-9:
            self.user.pass_until(min(self.user.now_s + RTT_S, end_s))
            fresh = self.user.said[self._said :]
            self._said = len(self.user.said)
            for said in fresh:
                if not isinstance(said.body, Ask):
                    continue
                self.asked.append(said)
                if said.to not in self.silent:
                    self.user.hear(said.to, self.answer(said.to, said.body))
        return self.asked[before:]

    def answer(self, peer: NodeId, ask: Ask) -> Share:
        return share(ask, min(max(ask.rate_hz, 0.0), self.most_hz[peer]))


ROOM_HZ = {"bs-0": 6.0, "bs-1": 4.0, "edge-0": 3.0, "edge-1": 2.0}


def settled_user(**changes: float | bool) -> tuple[Fed, Obliging]:
    """A user that has agreed with its peers: 5 s are a thousand round trips."""
    user, _ = begun_user(**changes)
    peers = Obliging(user, dict(ROOM_HZ))
    peers.until(5.0)
    return user, peers


def test_a_censored_user_that_has_agreed_only_says_that_it_lives() -> None:
    keep_s = 0.4
    user, peers = settled_user(censor=0.05, censor_min=0.005, keep_s=keep_s)

    said = peers.until(9.0)

    for peer in PEERS:
        at_s = [5.0, *(each.at_s for each in said if each.to == peer), 9.0]
        silences_s = [after - before for before, after in pairwise(at_s)]
        # Not longer than `keep_s`, its thinking and our step; not shorter, but for the ends.
        assert max(silences_s) <= keep_s + 0.03, peer
        assert min(silences_s[1:-1]) >= keep_s - 1e-9, peer
    # Uncensored the same user asks with every round trip.
    _, chatty = settled_user()
    assert len(chatty.until(9.0)) > 10 * len(said)
    assert policy_of(user).rate_hz == pytest.approx(5.0, rel=1e-3)  # both servers' room


def test_a_censored_user_speaks_up_when_its_wish_moved() -> None:
    user, peers = settled_user(censor=0.05, censor_min=0.005, keep_s=0.4)
    quiet_since_s = max(said.at_s for said in peers.asked)
    last = asks(user.said)["edge-0"]

    small = user.hear("edge-0", share(last, 0.9999 * ROOM_HZ["edge-0"]))
    small += user.pass_until(user.now_s + 0.01)
    assert user.now_s < quiet_since_s + 0.4, "the keep-alive would blur the test"
    assert not asks(small)

    user.hear("edge-0", share(last, 0.5 * ROOM_HZ["edge-0"]))
    assert "edge-0" in asks(user.pass_until(user.now_s + 0.01))


def test_a_silent_peer_is_dropped_after_dead_s_and_revived_by_its_answer_with_its_state() -> None:
    dead_s = 0.3
    user, peers = settled_user(dead_s=dead_s)
    peers.silent = {"edge-1"}
    policy = policy_of(user)
    first_s = next(said.at_s for said in peers.until(5.02) if said.to == "edge-1")
    state = state_hz(user, "edge-1")

    peers.until(first_s + dead_s - RTT_S)
    assert policy.splits_hz["edge-1"] > 0.0  # not before
    assert policy.rate_hz == pytest.approx(5.0, rel=1e-3)
    peers.until(first_s + 1.5 * dead_s)
    assert policy.splits_hz["edge-1"] == 0.0  # 50 % for tries, of which ten are the least
    assert policy.rate_hz == pytest.approx(3.0, rel=1e-3)  # what edge-0 has room for
    assert state_hz(user, "edge-1") == state

    # It is still asked, but seldom: at ten times the time-out, which is 10 ms at the least.
    said_to_dead = [said for said in peers.until(user.now_s + 1.0) if said.to == "edge-1"]
    assert 1 <= len(said_to_dead) <= 10
    copy_hz = policy.peers.edges["edge-1"].copy_hz
    assert isinstance(said_to_dead[-1].body, Ask)
    user.hear("edge-1", share(said_to_dead[-1].body, 1.5))
    assert state_hz(user, "edge-1") == pytest.approx(state + 1.6 * (1.5 - copy_hz), rel=1e-12)

    peers.silent = set()
    peers.until(user.now_s + 2.0)
    assert policy.rate_hz == pytest.approx(5.0, rel=1e-3)


def test_the_share_that_revives_a_peer_is_acted_on_at_once() -> None:
    user, peers = settled_user()
    peers.silent = {"edge-1"}
    peers.until(6.0)
    policy = policy_of(user)
    assert policy.splits_hz["edge-1"] == 0.0

    user.hear("edge-1", share(asks(user.said)["edge-1"], 1.5))

    assert policy.splits_hz["edge-1"] == 1.5


def test_a_quiet_peer_is_not_given_up_at_its_first_lost_answer() -> None:
    # Timed from the last answer, not from the open ask, a censored edge would die at once.
    user, peers = settled_user(censor=0.05, censor_min=0.005, keep_s=2.0, dead_s=0.3)
    heard_s = user.now_s
    peers.silent = {"edge-1"}
    while "edge-1" not in asks(peers.until(user.now_s + RTT_S)):
        assert user.now_s < heard_s + 2.1
    assert user.now_s > heard_s + 0.5, "the silence before the ask is what is to be forgiven"

    peers.until(user.now_s + 0.2)
    peers.silent = set()
    peers.until(user.now_s + 0.05)

    assert policy_of(user).splits_hz["edge-1"] == pytest.approx(2.0, rel=1e-3)
    assert min(policy_of(user).splits_hz.values()) > 0.0


def test_a_changed_success_rescales_the_penalty_and_keeps_the_unscaled_dual() -> None:
    user, first = begun_user()
    user.pass_until(user.now_s + RTT_S)
    for peer in PEERS:
        user.hear(peer, share(first[peer], 5.0))
    policy, edge = policy_of(user), policy_of(user).peers.edges["bs-0"]
    second = next_asks(user)
    dual = edge.penalty * (edge.copy_hz - edge.target_hz)
    other = policy.peers.edges["bs-1"].penalty
    assert dual != 0.0

    seq = 0
    while policy.success["bs-0"] == SUCCESS["bs-0"]:
        seq += 1
        policy.sent("bs-0", seq, user.now_s, user.now_s)
        user.take(policy.lost("bs-0", seq, user.now_s))

    p = policy.success["bs-0"]
    assert p < SUCCESS["bs-0"]
    scale = (p / SUCCESS["bs-0"]) ** 2
    assert edge.penalty == pytest.approx(second["bs-0"].penalty * scale, rel=1e-12)
    assert edge.penalty * (edge.copy_hz - edge.target_hz) == pytest.approx(dual, rel=1e-12)
    assert policy.peers.edges["bs-1"].penalty == other
    # The open ask was in the old scale: its answer no longer counts, and a new one goes out.
    state = state_hz(user, "bs-0")
    user.hear("bs-0", share(second["bs-0"], 1.0))
    assert state_hz(user, "bs-0") == state
    assert next_asks(user)["bs-0"].penalty == edge.penalty


def test_a_user_told_not_to_measure_believes_what_it_was_told() -> None:
    user, _ = begun_user(measure=False)
    policy = policy_of(user)

    for seq in range(200):
        policy.sent("bs-0", seq, user.now_s, user.now_s)
        policy.lost("bs-0", seq, user.now_s)

    assert policy.success == SUCCESS


# The resources

CAPACITY_HZ = 50.0


def new_cell(**changes: float) -> Fed:
    view = CellView("bs-0", REACHES, channels=1, slot_s=1.0 / CAPACITY_HZ)
    return Fed(NegotiatingCell(view, lambda: 0.5, AsynchronousOptions(**changes)))  # type: ignore[arg-type]


def new_server(**changes: float | bool) -> Fed:
    view = ServerView("edge-0", Moments(0.01, 2e-4))
    return Fed(NegotiatingServer(view, lambda: 0.5, AsynchronousOptions(**changes)))  # type: ignore[arg-type]


def user_names(count: int) -> list[NodeId]:
    return [f"user-{number}" for number in range(count)]


def ask_for(seq: int, rate_hz: float) -> Ask:
    return Ask(seq, rate_hz, 1.0, 0.5, 0)


def joined(resource: Fed, count: int) -> list[NodeId]:
    """Lets users join, and waits until they have their hints."""
    users = user_names(count)
    for name in users:
        resource.hear(name, Join(0, 1.0, 0.8))
    hints = {said.to for said in resource.pass_until(HINT_S) if isinstance(said.body, Hint)}
    assert hints == set(users)
    resource.pass_until(FIRST_ASK_S)
    return users


def in_use(resource: Fed, users: Sequence[NodeId], rate_hz: float) -> dict[NodeId, Share]:
    """Lets all ask for the same, once, with seq 1."""
    for name in users:
        resource.hear(name, ask_for(1, rate_hz))
    reported = shares(resource.pass_until(resource.now_s + ROUND_S))
    assert reported.keys() == set(users)
    return reported


@pytest.mark.parametrize("new", [new_cell, new_server])
def test_a_repeated_ask_is_answered_from_the_stored_share_without_a_new_round(new: type) -> None:
    resource: Fed = new()
    users = joined(resource, 4)
    reported = in_use(resource, users, 5.0)
    # One of four wants all there is: a round would change every share; it does not come yet.
    resource.hear(users[1], ask_for(2, 1000.0))

    again = shares(resource.hear(users[0], ask_for(1, 5.0)))

    assert again == {users[0]: reported[users[0]]}
    assert not resource.pass_until(resource.now_s + ROUND_S)


def test_an_ask_that_is_repeated_before_its_round_is_answered_once_by_the_round() -> None:
    cell = new_cell()
    users = joined(cell, 4)
    cell.hear(users[0], ask_for(1, 5.0))

    assert not cell.hear(users[0], ask_for(1, 5.0))

    cell.hear(users[1], ask_for(1, 5.0))
    said = cell.pass_until(cell.now_s + ROUND_S)
    assert [each.to for each in said] == [users[0], users[1]]


@pytest.mark.parametrize("new", [new_cell, new_server])
def test_an_old_ask_is_ignored(new: type) -> None:
    resource: Fed = new()
    users = joined(resource, 2)
    in_use(resource, users, 5.0)
    resource.hear(users[0], ask_for(3, 6.0))

    assert not resource.hear(users[0], ask_for(2, 1000.0))

    reported = shares(resource.pass_until(resource.now_s + ROUND_S))
    assert reported[users[0]].seq == 3
    assert reported[users[0]].rate_hz <= 6.0
    assert reported[users[0]].rate_hz == pytest.approx(6.0, rel=0.2)  # a server gives a little less
    # Nor is it taken for a repeated one afterwards.
    assert not resource.hear(users[0], ask_for(2, 1000.0))
    assert not resource.pass_until(resource.now_s + 0.05)


@pytest.mark.parametrize(("count", "quorum", "needed"), [(5, 0.5, 3), (4, 0.5, 2), (10, 0.3, 3)])
def test_a_round_starts_when_the_quorum_of_members_has_asked(
    count: int, quorum: float, needed: int
) -> None:
    cell = new_cell(quorum=quorum, hold_s=0.05)
    users = joined(cell, count)

    for number, name in enumerate(users[:needed], start=1):
        cell.pass_until(FIRST_ASK_S + 0.01 * number)
        cell.hear(name, ask_for(1, 5.0))
        if number < needed:
            assert not cell.pass_until(cell.now_s + 0.009), number

    reported = shares(cell.pass_until(cell.now_s + ROUND_S))
    assert reported.keys() == set(users[:needed])


def test_a_round_starts_hold_s_after_the_first_ask_at_the_latest() -> None:
    hold_s = 0.05
    cell = new_cell(hold_s=hold_s)
    users = joined(cell, 10)

    cell.hear(users[0], ask_for(1, 5.0))
    cell.pass_until(FIRST_ASK_S + 0.04)
    cell.hear(users[1], ask_for(1, 5.0))  # does not prolong it

    assert not cell.pass_until(FIRST_ASK_S + hold_s - 1e-6)
    said = cell.pass_until(FIRST_ASK_S + hold_s + 1e-6)
    assert [each.to for each in said] == users[:2]
    assert not cell.pass_until(FIRST_ASK_S + 3 * hold_s)  # nobody asked since


def test_a_full_barrier_waits_for_all_but_not_for_the_dead() -> None:
    keep_s = 0.4
    cell = new_cell(quorum=1.0, keep_s=keep_s, hold_s=0.01)
    users = joined(cell, 3)
    for name in users[:2]:
        cell.hear(name, ask_for(1, 5.0))
    assert not cell.pass_until(1.0)

    cell.hear(users[2], ask_for(1, 5.0))
    assert shares(cell.pass_until(1.0 + ROUND_S)).keys() == set(users)

    last_s = cell.now_s
    while cell.now_s < last_s + (MISSED_MAX + 2) * keep_s:  # the third is heard no more
        for name in users[:2]:
            cell.hear(name, ask_for(2, 6.0))
        cell.pass_until(cell.now_s + 0.1)
    assert shares(cell.said)[users[0]].seq == 2


def test_a_member_that_is_too_stale_is_waited_for() -> None:
    hold_s, staleness_max = 0.05, 2
    cell = new_cell(quorum=0.5, hold_s=hold_s, staleness_max=staleness_max)
    users = joined(cell, 4)
    in_use(cell, users, 5.0)

    took_s = []
    for seq in range(2, 5):
        began_s = cell.now_s
        for name in users[:2]:
            cell.hear(name, ask_for(seq, 5.0 + seq))
        said = [each for each in cell.pass_until(began_s + 0.06) if each.to == users[0]]
        took_s.append(said[0].at_s - began_s)

    # Two rounds without the other two, and then not a third at once.
    assert took_s[:2] == pytest.approx([0.002, 0.002])
    assert took_s[2] == pytest.approx(hold_s)
    # An ask of theirs is what it waits for.
    began_s = cell.now_s
    for name in users[:2]:
        cell.hear(name, ask_for(9, 5.0))
    cell.pass_until(began_s + 0.01)
    for name in users[2:]:
        cell.hear(name, ask_for(9, 5.0))
    assert shares(cell.pass_until(began_s + 0.01 + ROUND_S)).keys() == set(users)


@pytest.mark.parametrize("new", [new_cell, new_server])
def test_a_member_silent_for_three_keep_alives_loses_its_share_to_the_others(new: type) -> None:
    keep_s = 0.4
    resource: Fed = new(keep_s=keep_s)
    users = joined(resource, 2)
    before = in_use(resource, users, 80.0)  # more than there is, each
    assert before[users[1]].rate_hz > 1.0
    fallen_silent_s = FIRST_ASK_S

    seq = 1
    while resource.now_s < fallen_silent_s + MISSED_MAX * keep_s - 0.1:
        resource.pass_until(resource.now_s + 0.1)
        seq += 1
        resource.hear(users[0], ask_for(seq, 80.0))
    resource.pass_until(fallen_silent_s + MISSED_MAX * keep_s)
    assert shares(resource.said)[users[0]].rate_hz == pytest.approx(before[users[0]].rate_hz)

    # Told by a push: the survivor has nothing to say meanwhile but that it lives.
    while resource.now_s < fallen_silent_s + (MISSED_MAX + 2) * keep_s:
        resource.pass_until(resource.now_s + 0.1)
        resource.hear(users[0], ask_for(seq, 80.0))
    assert shares(resource.said)[users[0]].rate_hz > 1.3 * before[users[0]].rate_hz
    policy = resource.policy
    assert isinstance(policy, NegotiatingCell | NegotiatingServer)
    assert policy.negotiation.members.rates_hz[1] == 0.0

    # Back with an ask, without joining again.
    resource.hear(users[1], ask_for(2, 80.0))
    seq += 1
    resource.hear(users[0], ask_for(seq, 80.0))
    reported = shares(resource.pass_until(resource.now_s + ROUND_S))
    for name in users:
        assert reported[name].rate_hz == pytest.approx(before[name].rate_hz, rel=1e-6), name


def test_a_user_whose_join_was_lost_is_taken_in_by_its_ask() -> None:
    cell = new_cell()

    cell.hear("user-0", ask_for(1, 5.0))

    reported = shares(cell.pass_until(ROUND_S))
    assert reported["user-0"].rate_hz == 5.0


def test_silent_members_are_told_when_their_share_moved() -> None:
    cell = new_cell(quorum=0.3, hold_s=0.01)
    users = joined(cell, 3)
    first = in_use(cell, users, 20.0)  # 60 of 50: everybody has a third
    assert first[users[2]].rate_hz == pytest.approx(CAPACITY_HZ / 3)

    for seq in range(2, 5):  # one leaves more to the others
        cell.hear(users[0], ask_for(seq, 1.0))
        cell.pass_until(cell.now_s + 0.02)

    reported = shares(cell.said)
    assert reported[users[2]].seq == 1  # the ask that it answers is still the first
    assert reported[users[2]].rate_hz == pytest.approx(20.0)


def test_what_a_server_has_told_its_members_never_overloads_it() -> None:
    # Users act on the last share that they heard; with nothing lost that is the last one told.
    server = new_server()
    users = joined(server, 4)
    reported = in_use(server, users, 40.0)

    for seq, asking, rate_hz in [(2, users[:2], 1.0), (3, users[2:], 90.0), (4, users[:2], 90.0)]:
        for name in asking:
            server.hear(name, ask_for(seq, rate_hz))
        reported |= shares(server.pass_until(server.now_s + 0.01))
        assert sum(reported[name].rate_hz * reported[name].mean_s for name in users) < 1.0, seq


@pytest.mark.parametrize("measure", [True, False])
def test_a_server_that_became_slow_tells_everybody_if_it_measures(measure: bool) -> None:
    server = new_server(measure=measure)
    users = joined(server, 2)
    before = in_use(server, users, 80.0)
    policy = server.policy
    assert isinstance(policy, NegotiatingServer)
    for _ in range(50):
        policy.view.moments.observe(0.04)  # four times as long

    reported: dict[NodeId, Share] = {}
    while server.now_s < 1.2:
        reported |= shares(server.pass_until(server.now_s + 0.1))
        for name in users:  # alive, with nothing new to say
            reported |= shares(server.hear(name, ask_for(1, 80.0)))

    for name in users:
        assert (reported[name].mean_s == pytest.approx(0.04, rel=CHANGE)) == measure
        if not measure:
            assert reported[name] == before[name]
            continue
        assert reported[name].rate_hz < 0.4 * before[name].rate_hz
        assert math.isfinite(reported[name].wait_s)


@pytest.mark.parametrize("new", [new_cell, new_server])
def test_strangers_and_foreign_messages_are_not_swallowed(new: type) -> None:
    resource: Fed = new()
    user, _ = begun_user()
    for node, source, body in (
        (resource, "bs-9", Hint(1.0)),
        (resource, "bs-9", Share(1, 1.0)),
        (user, "bs-9", Share(1, 1.0)),
        (user, "bs-0", Join(0, 1.0)),
    ):
        with pytest.raises(Unhandled):
            node.hear(source, body)


# Who starts anew


@pytest.mark.parametrize("new", [new_cell, new_server])
def test_a_user_that_started_anew_is_heard_by_those_who_know_its_earlier_asks(new: type) -> None:
    resource: Fed = new()
    users = joined(resource, 2)
    in_use(resource, users, 5.0)
    for seq in range(2, 500):  # a long life, never silent for long enough to be given up
        for name in users:
            resource.hear(name, ask_for(seq, 5.0))
        resource.pass_until(resource.now_s + 0.1)

    anew = new_user(AsynchronousOptions(), resource.now_s)
    ask = hinted(anew)["bs-0"]
    resource.hear(users[0], Join(0, 1.0, 0.8))
    resource.hear(users[0], ask)
    reported = shares(resource.pass_until(resource.now_s + 2.0 * ROUND_S + 0.03))

    assert reported[users[0]].seq == ask.seq
    # And what its earlier life sent, and the network held up, is not taken for new.
    assert not resource.hear(users[0], ask_for(500, 1000.0))


def test_a_user_that_started_anew_does_not_take_answers_to_its_earlier_life_for_its_own() -> None:
    _, first = begun_user()
    anew = new_user(AsynchronousOptions(), 5.0)
    hinted(anew)

    anew.hear("bs-0", share(first["bs-0"], 7.0))

    assert policy_of(anew).grants_hz["bs-0"] == 0.0


@pytest.mark.parametrize("new", [new_cell, new_server])
def test_a_resource_that_started_anew_takes_living_users_in_at_their_next_ask(new: type) -> None:
    resource: Fed = new()

    resource.hear("user-0", ask_for(41, 5.0))
    reported = shares(resource.pass_until(resource.now_s + 0.04))

    assert reported["user-0"].seq == 41
    assert reported["user-0"].rate_hz == pytest.approx(5.0, rel=0.2)
