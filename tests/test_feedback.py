"""Measured service times reach the protocols: a server that gets slower is priced and used less.

What `popec` does with them stands in test_popec_network.py (the optimum with the new moments).
"""

import pytest
from conftest import perform
from todg_network import network

from agents.messages import ServerReport, TaskEnd
from agents.messages.slots import Board
from agents.todg import server as scheduled_server

SLOWER = 3.0


def test_a_slower_scheduled_server_publishes_it_and_gets_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shares(is_priced: bool) -> tuple[float, list[Board], list[ServerReport]]:
        """Returns the rack's share of all results since the change, its boards and reports."""
        boards: list[Board] = []

        def reported(slot: int, name: str, backlog: tuple[int, ...], slowness: float) -> Board:
            board = Board(slot, name, backlog, slowness if is_priced else 1.0)
            boards.append(board)
            return board

        monkeypatch.setattr(scheduled_server, "Board", reported)
        slow = {"at_s": 2.0, "type": "server_slowdown", "target": "rack-0", "factor": SLOWER}
        records, _, _ = perform(network(duration_s=8.0, faults=[slow]))
        ends = [r for r in records if isinstance(r, TaskEnd) and r.outcome == "completed"]
        since = [end.server for end in ends if end.arrived_s > 3.0]
        reports = [r for r in records if isinstance(r, ServerReport) and r.server == "rack-0"]
        own = [board for board in boards if board.server == "rack-0"]
        return since.count("rack-0") / len(since), own, reports

    priced, boards, reports = shares(is_priced=True)
    unpriced, _, _ = shares(is_priced=False)

    first = [report for report in reports if report.at_s < 2.0][-1]
    last = reports[-1]
    # Gamma of scv 0.1, some 200 services: the standard error is 2 %.
    assert first.mean_s == pytest.approx(0.005, rel=0.1)
    assert last.mean_s == pytest.approx(SLOWER * 0.005, rel=0.1)
    assert last.second_moment_s2 == pytest.approx(SLOWER**2 * 1.1 * 0.005**2, rel=0.2)
    assert boards[-1].slowness == pytest.approx(SLOWER, rel=0.1)
    assert priced < unpriced - 0.02, (priced, unpriced)
