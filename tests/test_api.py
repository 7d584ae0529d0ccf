"""Requests made from our own OpenAPI description, right and wrong ones: no crash, no undescribed
answer, and the run goes on undisturbed."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PATIENCE_S, distribution, server_group, user_group
from hypothesis import HealthCheck, Phase, settings
from test_control import Running

from emulator.live.openapi import V1, description

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis import checks  # noqa: E402

FAULT_REQUESTS, REST_REQUESTS = 400, 12  # to each operation, besides the corner cases
TARGETS = ("bs-0", "bs-*", "user-*,!user-0", "user-1->bs-1", "edge-*", "user-2", "*", "rack-7")
statuses: Counter[int] = Counter()  # of all answers

schema = schemathesis.openapi.from_dict(description(has_token=True))
ABOUT_FAULTS = [f"{V1}/faults", f"{V1}/faults/{{id}}"]
FAULTS = schema.include(path=ABOUT_FAULTS, method=["POST", "PATCH", "DELETE"])
# The stream never ends, and a run that was stopped answers nothing else.
REST = schema.exclude(path=[*ABOUT_FAULTS, f"{V1}/stream", f"{V1}/run/stop"])


# Random names select no node, and then nothing is tried but the refusal.
@schema.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("target"), str):
        target = TARGETS[len(body["target"]) % len(TARGETS)]
        return body | {"target": target}
    return body


@schema.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    number = (path_parameters or {}).get("id")
    if isinstance(number, int) and not isinstance(number, bool) and number > 100:
        return path_parameters | {"id": number % 100}
    return path_parameters


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    spec = {
        "duration_s": 600.0,
        "users": [user_group(count=4)],
        "servers": [server_group(distribution("exponential", 0.02), count=2)],
    }
    # The limit on changes has its own test; here it would answer instead of what is asked.
    folder = tmp_path_factory.mktemp("run")
    running = Running(folder, spec, token="secret", changes_hz=1e5)
    yield running
    running.end()


def settled(count: int) -> settings:
    quiet = list(HealthCheck)
    phases = [Phase.explicit, Phase.generate]  # a request that fails is told as it was sent
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, phases=phases,
        suppress_health_check=quiet,
    )  # fmt: skip


def send(case: Any, running: Running) -> None:
    """Asks, and holds the answer against the description."""
    response = case.call(base_url=running.service.url, headers={"Authorization": "Bearer secret"})
    statuses[response.status_code] += 1
    # What is valid by the schema may still name a node that is not there.
    case.validate_response(response, excluded_checks=[checks.positive_data_acceptance])


@FAULTS.parametrize()
@settled(FAULT_REQUESTS)
def test_no_fault_that_is_asked_for_breaks_the_run(case: Any, running: Running) -> None:
    send(case, running)


@REST.parametrize()
@settled(REST_REQUESTS)
def test_no_other_request_gets_an_undescribed_answer(case: Any, running: Running) -> None:
    send(case, running)


def test_after_all_that_the_run_goes_on_and_says_sane_things(running: Running) -> None:
    token = {"Authorization": "Bearer secret"}
    if not statuses:
        pytest.skip("the requests are other tests of this file")
    if running.steering.phase == "paused":
        running.ask("POST", f"{V1}/run/resume", {}, token)
    assert statuses.total() >= 2000
    assert statuses[201] + statuses[200] > 200
    assert max(statuses) < 500
    healed = running.ask("DELETE", f"{V1}/faults", {}, token)
    assert healed.status == 200
    assert running.thread.is_alive()

    before_s = running.ask("GET", f"{V1}/run", headers=token).body["now_s"]
    give_up_s = time.monotonic() + PATIENCE_S
    while running.ask("GET", f"{V1}/run", headers=token).body["now_s"] <= before_s + 1.0:
        assert time.monotonic() < give_up_s, "emulated time stands still"
        time.sleep(0.1)
    assert running.ask("GET", f"{V1}/faults", headers=token).body["cut"] == []
    metrics = running.ask("GET", "/metrics", headers=token).body.decode()
    active = [line for line in metrics.splitlines() if line.startswith("fresco_faults_active{")]
    assert active
    assert all(line.endswith(" 0.0") for line in active)
    running.end()
    summary = json.loads((running.folder / "summary.json").read_text())
    assert summary["balance"]["lost"] == 0  # every task of a disturbed run is accounted for
