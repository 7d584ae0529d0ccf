"""Classes of devices, and devices that get slower as they heat."""

import math
from random import Random
from typing import get_args

import msgspec
import numpy as np
import pytest
from conftest import distribution, perform, scenario, server_group, user_group
from pydantic import ValidationError

from agents.api import ACCELERATOR, Send
from agents.messages import Abort, Execute, Executed, TaskEnd
from agents.tasks import Task
from emulator.build.assemble import assemble
from emulator.build.planning import plan
from emulator.checks import check
from emulator.scenario.schema import Device, Scenario, ServerGroup, Thermal
from emulator.sim.thermal import Heating
from models import latency
from models.devices import CLASSES, STANDS_FOR

# Classes


def server(**said: object) -> ServerGroup:
    return ServerGroup.model_validate({"name": "edge", **said})


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_alone_says_all_of_a_server(name: str) -> None:
    found, of = server(device=name), CLASSES[name]

    accelerator = found.accelerator
    assert accelerator.kind == "live"
    assert (accelerator.model, accelerator.engine, accelerator.batch_max) == (
        of.model,
        of.engine,
        of.batch_max,
    )
    assert found.speed == of.speed
    assert found.thermal == Thermal(slowdown=of.slowdown, time_s=of.heat_s)


@pytest.mark.parametrize("name", CLASSES)
def test_the_network_that_stands_for_the_detector_takes_the_published_time(name: str) -> None:
    median_s = float(np.median(latency.trace(STANDS_FOR, 1)))

    # Speeds are rounded to three digits: half of the last one is 0.5 % at most.
    assert median_s / CLASSES[name].speed == pytest.approx(CLASSES[name].published_s, rel=5e-3)


def test_a_server_overrides_what_its_class_says() -> None:
    found = server(
        device="raspberry",
        speed=0.5,
        thermal={"slowdown": 3.0, "time_s": 9.0},
        accelerator={"kind": "replay", "model": "digits-l"},
    )

    assert (found.speed, found.thermal) == (0.5, Thermal(slowdown=3.0, time_s=9.0))
    assert found.accelerator.kind == "replay"
    assert found.accelerator.model == "digits-l"
    assert found.accelerator.engine == CLASSES["raspberry"].engine
    fitted = {"kind": "fitted", "service": distribution("exponential", 0.01)}
    assert server(device="raspberry", accelerator=fitted).accelerator.kind == "fitted"


def test_a_resolved_device_depends_on_no_class() -> None:
    found = server(device="jetson")

    again = found.model_dump(mode="json", exclude_none=True)

    assert "device" not in again
    assert ServerGroup.model_validate(again) == found


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ValidationError, match="unknown device 'raspbery'; did you mean 'raspberry'"
    ):
        server(device="raspbery")


def test_the_schema_names_the_classes_and_asks_for_a_class_or_an_accelerator() -> None:
    assert set(get_args(get_args(Device.model_fields["device"].annotation)[0])) == set(CLASSES)
    schema = Scenario.model_json_schema()["$defs"]["ServerGroup"]
    assert "accelerator" not in schema["required"]
    assert {"required": ["device"]} in schema["anyOf"]


def test_latencies_measured_on_different_processors_are_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    int8 = {"engine": "onnx-int8"}
    spec = scenario(
        servers=[
            {"name": "pi", "device": "raspberry", "accelerator": {"model": "noisy-s"} | int8},
            {"name": "r", "device": "rack", "accelerator": {"model": "noisy-l"}},
        ]
    )
    chosen = Scenario.model_validate(spec)
    assert not [text for _, text, _ in check.warnings(chosen) if "measured apart" in text]
    real = latency.read

    def read(name: str, engine: str = "torch") -> latency.Latency:
        other = {"processor": "another"} if engine == "torch" else {}
        return msgspec.structs.replace(real(name, engine), **other)

    monkeypatch.setattr(latency, "read", read)

    [found] = [each for each in check.warnings(chosen) if "measured apart" in each[1]]
    assert found[0] == ("servers", 1, "accelerator")
    assert "noisy-l (torch) on another" in found[1]


# Heat

SLOWDOWN, TIME_S, COLD_S = 2.5, 20.0, 0.05


class Steady:
    """An accelerator that always takes the same time."""

    def warm_up(self) -> None:
        pass

    def execute(self, batch: Execute, now_s: float) -> Executed:
        return Executed(batch.tasks, COLD_S, (True,))


def heating() -> Heating:
    return Heating(Steady(), Thermal(slowdown=SLOWDOWN, time_s=TIME_S))


BATCH = Execute((Task("user-0", 0, 0.0, 0, 1.0, 0),), 0)


def test_constant_work_slows_a_device_along_the_closed_form() -> None:
    device, now_s = heating(), 0.0

    while now_s < 5.0 * TIME_S:
        executed = device.execute(BATCH, now_s)
        heat = 1.0 - math.exp(-now_s / TIME_S)
        assert executed.service_s == pytest.approx(COLD_S * (1.0 + (SLOWDOWN - 1.0) * heat))
        assert executed.correct == (True,)
        now_s += executed.service_s


def test_rest_cools_a_device_along_the_closed_form() -> None:
    device, now_s = heating(), 0.0
    while now_s < 3.0 * TIME_S:
        now_s += device.execute(BATCH, now_s).service_s
    hot = device.heat(now_s)
    assert hot == pytest.approx(1.0 - math.exp(-now_s / TIME_S))

    for rest_s in (0.0, 1.0, TIME_S, 10.0 * TIME_S):
        assert device.heat(now_s + rest_s) == pytest.approx(hot * math.exp(-rest_s / TIME_S))


def test_random_work_follows_the_differential_equation() -> None:
    # Against Euler steps of 0.1 ms: their error is the step times the largest slope, 5e-6 relative
    # to time_s, accumulated at most once over; 1e-4 leaves room. Seed 3.
    draw, device, step_s = Random(3), heating(), 1e-4
    now_s = heat = 0.0
    busy_until_s = 0.0
    for _ in range(60):
        begins_s = max(now_s, busy_until_s) + draw.choice((0.0, 0.0, draw.expovariate(2.0)))
        while now_s < begins_s:
            heat += step_s * ((now_s < busy_until_s) - heat) / TIME_S
            now_s += step_s
        assert device.heat(begins_s) == pytest.approx(heat, abs=1e-4)
        busy_until_s = begins_s + device.execute(BATCH, begins_s).service_s


def test_a_batch_that_was_given_up_heats_only_until_the_next_one() -> None:
    device = heating()
    device.execute(BATCH, 0.0)

    assert device.heat(COLD_S / 2.0) == pytest.approx(1.0 - math.exp(-COLD_S / 2.0 / TIME_S))


def test_a_device_cools_from_the_crash_on_that_took_its_batch() -> None:
    thermal, crash_s = {"slowdown": 3.0, "time_s": 5.0}, 4.0
    spec = scenario(
        duration_s=60.0,
        users=[user_group(arrival={"kind": "periodic", "period_s": 3.5})],
        servers=[server_group(distribution("deterministic", 10.0), thermal=thermal)],
        faults=[{"type": "server_crash", "target": "edge-0", "at_s": crash_s, "for_s": 2.0}],
    )

    ends = sorted((r for r in perform(spec).records if isinstance(r, TaskEnd)), key=lambda e: e.seq)

    served = next(end for end in ends if end.outcome == "completed")
    heat_at_crash = 1.0 - math.exp(-(crash_s - ends[0].born_s) / 5.0)  # busy from the first task on
    heat = heat_at_crash * math.exp(-(served.started_s - crash_s) / 5.0)
    service_s = served.finished_s - served.started_s
    assert ends[0].reason == "crash"
    assert heat > 0.05
    assert service_s == pytest.approx(10.0 * (1.0 + 2.0 * heat))


def test_a_device_cools_from_when_its_batch_was_given_up() -> None:
    servers = [
        server_group(distribution("deterministic", 10.0), thermal={"slowdown": 3.0, "time_s": 5.0})
    ]
    planned = plan(Scenario.model_validate(scenario(servers=servers)), stopwatch=False)
    kernel = assemble(planned, planned.names)

    kernel.perform("edge-0", [Send(ACCELERATOR, BATCH)], 0.0)
    kernel.perform("edge-0", [Send(ACCELERATOR, Abort())], 2.0)

    device = kernel.accelerators["edge-0"]
    assert isinstance(device, Heating)
    assert device.heat(5.0) == pytest.approx((1.0 - math.exp(-2.0 / 5.0)) * math.exp(-3.0 / 5.0))


@pytest.mark.parametrize(
    "accelerator",
    [
        {"kind": "fitted", "service": distribution("deterministic", 1e-4)},
        {"kind": "replay", "model": "digits-s"},
        {"kind": "live", "model": "digits-s"},
    ],
    ids=lambda spec: str(spec["kind"]),
)
def test_a_hot_server_takes_longer_whatever_serves(accelerator: dict[str, object]) -> None:
    def compute_s(**changes: object) -> float:
        user = user_group(arrival={"kind": "periodic", "period_s": 0.5})
        servers = [server_group({}, speed=0.001, accelerator=accelerator, **changes)]
        spec = scenario(duration_s=100.0, warmup_s=50.0, users=[user], servers=servers)
        return float(perform(spec).metrics.summary()["all"]["compute_mean_s"] or 0.0)

    cold_s = compute_s()
    hot_s = compute_s(thermal={"slowdown": 2.0, "time_s": 5.0})

    # In the long run heat is the share of time that the server is busy: at most cold_s * (1 + heat)
    # every 0.5 s. The period is short against 5 s, so the heat at each beginning is near its mean.
    # busy = cold (1 + busy): the fixed point is cold / (1 - cold) with cold = cold_s / 0.5.
    share = cold_s / 0.5
    heat = share / (1.0 - share)
    assert 0.1 < heat < 1.0
    assert hot_s == pytest.approx(cold_s * (1.0 + heat), rel=0.05)
