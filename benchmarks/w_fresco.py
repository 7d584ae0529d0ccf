"""W(N, T) on Fresco, as `fresco run` does it in virtual time: journal digest and all metrics on.

The YAML for N = 100 and 1000 is in `scenarios/`; a test there and a run here play one model.
"""

from benchmarks.w_heapq import ATTEMPTS_MAX, LOAD, LOSS, SPEEDS, UPLINK_MEAN_S, Measured
from emulator.build.planning import plan
from emulator.runtime.loop import play
from emulator.runtime.recorder import Recorder
from emulator.scenario.schema import Scenario


def run(users: int, duration_s: float, seed: int) -> Measured:
    """Plays W(users, duration_s) and returns what it measured."""
    service = {"distribution": "exponential", "mean_s": LOAD * sum(SPEEDS) / users}
    airtime = {"distribution": "exponential", "mean_s": UPLINK_MEAN_S}
    arrival = {"kind": "poisson", "rate_hz": 1.0}
    chosen = plan(
        Scenario.model_validate(
            {
                "name": "w",
                "seed": seed,
                "duration_s": duration_s,
                "protocol": {"kind": "random"},
                "users": [
                    {"name": "user", "count": users, "arrival": arrival, "input_bits": 1000.0}
                ],
                "base_stations": [{"name": "bs"}],
                "servers": [
                    {
                        "name": f"edge{number}",
                        "speed": speed,
                        "accelerator": {"kind": "fitted", "service": service},
                    }
                    for number, speed in enumerate(SPEEDS)
                ],
                "channel": {"kind": "bernoulli", "loss": LOSS, "airtime": airtime},
                "downlink": {"kind": "ideal"},
                "resend": {"attempts_max": ATTEMPTS_MAX},
                "backhaul": {"delay_s": 0.0},
            }
        ),
        stopwatch=False,
    )
    recorder = Recorder(chosen, None)
    for step in play(chosen):
        recorder.take(step)
    found = recorder.metrics.summary()["all"]
    delay_mean_s, peak_mean_s = found["delay_mean_s"], found["paoi_mean_s"]
    assert delay_mean_s is not None
    assert peak_mean_s is not None
    return Measured(recorder.metrics.outcomes["completed"], delay_mean_s, peak_mean_s)
