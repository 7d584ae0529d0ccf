"""Small scheduled networks as plain dicts, for the tests of TODG and its rivals."""

from typing import Any

from conftest import Spec, distribution, scenario, server_group, user_group

SLOT_S = 0.05


def kind(name: str, **changes: Any) -> Spec:
    """Three users whose tasks of 60 kbit come 12 times a second and are due in 2 s."""
    arrival = {"kind": "poisson", "rate_hz": 12.0}
    return (
        user_group(name=name, count=3, arrival=arrival, input_bits=6.0e4, deadline_s=2.0) | changes
    )


def network(**changes: Any) -> Spec:
    """Two kinds of user, two cells that hear each other, two channels, two servers."""
    return (
        scenario(
            duration_s=4.0,
            protocol={"kind": "todg"},
            users=[
                kind("alarm", value=4.0, input_bits=2.0e4, work=1.0),
                kind("survey", priority=1, input_bits=1.5e5, deadline_s=4.0, work=5.0),
            ],
            base_stations=[
                {"name": "bs", "count": 2, "access": "scheduled", "channels": 2, "grant_s": SLOT_S}
            ],
            servers=[
                server_group(distribution("gamma", 0.005, 0.1), name="rack", speed=1.0),
                server_group(distribution("gamma", 0.005, 0.1), name="box", speed=0.5),
            ],
            channel={
                "kind": "adaptive",
                "snr_db": 3.0,
                "bandwidth_hz": 1.5e6,
                "coherence_s": SLOT_S,
            },
            downlink={"kind": "ideal", "delay_s": 0.002},
            resend={"attempts_max": 1},
            control={"channel": {"kind": "ideal", "delay_s": 0.001}},
            backhaul={"delay_s": 0.0004},
            topology={"kind": "generated", "area_m": 200.0, "cells_per_user": 1, "hear_m": 110.0},
        )
        | changes
    )
