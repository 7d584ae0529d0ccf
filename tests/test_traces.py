"""Recorded inputs as other tools write them: read as meant, or refused with the line."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from todg_network import kind, network

from emulator.cli.main import fresco
from emulator.scenario.traces import read_channel, read_times

MEANT = ((0.0, 1.0, 2.0), (1.0, 0.5, 1.0), (1e6, 2e6, 1e6))


@pytest.mark.parametrize(
    "written",
    [
        "t_s,success,rate_bps\n0,1,1e6\n1,0.5,2e6\n2,1,1e6\n",
        "\ufefft_s,success,rate_bps\r\n0,1,1e6\r\n1,0.5,2e6\r\n2,1,1e6\r\n",
        "t_s, success , rate_bps\n 0, 1, 1e6\n1 ,0.5,2e6\n\n\n2,1,1e6",
        "rate_bps,t_s,success\n1e6,0,1\n2e6,1,0.5\n1e6,2,1\n",
        '"t_s","success","rate_bps"\n"0","1","1e6"\n1,0.5,2e6\n2,1,1e6\n',
    ],
    ids=["plain", "mark", "spaces", "order", "quotes"],
)
def test_a_channel_trace_is_read_as_it_is_meant(written: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(written.encode())

    trace = read_channel(path)

    assert (trace.times_s, trace.success, trace.rates_bps) == MEANT


@pytest.mark.parametrize(
    ("written", "reported"),
    [
        ("t_s,success,rate_bps\n0,1,1e6\n\n\n1,x,1e6\n", "trace.csv:5: 'x' is not a number"),
        ("t_s,success,rate_bps\n0,1,1e6,9\n1,1,1e6\n", "trace.csv:2: 4 values for 3 columns"),
        ("t_s,success,rate_bps\n0,1\n1,1,1e6\n", "trace.csv:2: 2 values for 3 columns"),
        ("\n\nt_s;success;rate_bps\n0;1;1\n", "trace.csv:3: .*, not 't_s;success;rate_bps'"),
        ("t_s,success\n0,1\n1,1\n", "trace.csv:1: .*, not 't_s,success'"),
        ("t_s,success,rate_bps,rtt\n0,1,1,1\n", "trace.csv:1: .*, not 't_s,success,rate_bps,rtt'"),
        ("t_s,success,rate_bps\n0,1,0\n1,1,1e6\n", "trace.csv: rate_bps is 0 in every row"),
        ("t_s,success,rate_bps\n0,1,5\n\n0,1,5\n", "trace.csv:4: t_s must rise"),
        ("t_s,success,rate_bps\n0,1,-5\n1,1,5\n", "trace.csv:2: rate_bps must not be negative"),
        ("", "trace.csv: is empty"),
    ],
)
def test_what_no_trace_can_mean_is_refused_with_its_line(
    written: str, reported: str, tmp_path: Path
) -> None:
    (tmp_path / "trace.csv").write_text(written)

    with pytest.raises(ValueError, match=reported):
        read_channel(tmp_path / "trace.csv")


def test_instants_may_have_a_mark_blank_lines_and_any_line_ends(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_bytes("\ufeff0.5\r\n\r\n 1.0 \r\n".encode())

    assert read_times(tmp_path / "times.txt") == (0.5, 1.0)


@pytest.mark.parametrize(
    ("written", "reported"),
    [
        ("-1\n2\n", "times.txt:1: -1.0 is before the run begins"),
        ("\n2\n1\n", "times.txt:3: 1.0 is earlier than the line before"),
    ],
)
def test_instants_out_of_place_are_refused_with_their_line(
    written: str, reported: str, tmp_path: Path
) -> None:
    (tmp_path / "times.txt").write_text(written)

    with pytest.raises(ValueError, match=reported):
        read_times(tmp_path / "times.txt")


SCENARIO = """\
name: recorded
seed: 5
duration_s: 4
protocol: {kind: nearest}
users:
  - {name: bell, arrival: {kind: trace, file: times.txt}, input_bits: 1000}
  - {name: gate, arrival: {kind: trace, file: times.txt}, input_bits: 1000}
base_stations: [{name: mast}]
servers:
  - name: rack
    accelerator: {kind: fitted, service: {distribution: deterministic, mean_s: 0.01}}
channel: {kind: bernoulli, rate_bps: 1.0e6}
"""
ALONE = "\n".join(line for line in SCENARIO.splitlines() if "gate" not in line)
GROUP = ALONE.replace("bell,", "bell, count: 3,")
LATE = "count in seconds from the begin of the run, or raise duration_s"
STEP = "give each a file: a group of count 1"


def ended(verb: str, path: Path, *words: str) -> tuple[int, list[str], str]:
    """Returns the exit status, the warnings without their file, and standard output."""
    done = CliRunner().invoke(fresco, [verb, str(path), *words])
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    return done.exit_code, [line.removeprefix(f"warning: {path}:") for line in warned], done.stdout


@pytest.mark.parametrize(
    ("spec", "instants", "reported"),
    [
        (ALONE, "1\n2\n3\n", []),
        (
            ALONE,
            "1800000000.25\n1800000009\n",
            [
                "none of 2 instants of times.txt, from 1800000000.25 to 1800000009 s, fall into "
                f"the run of 4 s; {LATE}"
            ],
        ),
        # At the end of the run nothing more begins; a tenth of the instants is not yet few.
        (ALONE, "".join(f"{4 * n}\n" for n in range(10)), []),
        (
            ALONE,
            "".join(f"{4 * n}\n" for n in range(11)),
            [f"1 of 11 instants of times.txt, from 0 to 40 s, fall into the run of 4 s; {LATE}"],
        ),
        (
            ALONE,
            "\n",
            [
                "times.txt has no instants: 'bell' makes no tasks; write one instant a line, in "
                "seconds from the begin of the run"
            ],
        ),
        (
            GROUP,
            "1\n",
            [f"all 3 users of 'bell' send at the same instants, those of times.txt; {STEP}"],
        ),
        (
            SCENARIO,
            "1\n",
            ["all 2 users of 'bell', 'gate' send at the same instants, those of times.txt"],
        ),
        (GROUP, "", ["times.txt has no instants: 'bell' makes no tasks; write one instant a line"]),
    ],
    ids=["well", "epoch", "tenth", "less", "empty", "group", "groups", "empty-group"],
)
def test_instants_that_are_hardly_meant_so_are_warned_of(
    spec: str, instants: str, reported: list[str], tmp_path: Path
) -> None:
    (tmp_path / "times.txt").write_text(instants)
    path = tmp_path / "recorded.yaml"
    path.write_text(spec)

    status, warned, _ = ended("check", path)

    assert status == 0
    assert len(warned) == len(reported)
    for line, text in zip(warned, reported, strict=True):
        place, _, said = line.partition(" users[")
        assert place.split(":")[0] == ("7" if "gate" in text else "6")
        assert said.partition(".arrival.file: ")[2].startswith(text)


def scheduled(instants: str, folder: Path) -> Path:
    """Writes a scenario whose scheduled users follow a file."""
    (folder / "times.txt").write_text(instants)
    arrival: Any = {"kind": "trace", "file": "times.txt"}
    path = folder / "scheduled.yaml"
    path.write_text(json.dumps(network(users=[kind("alarm", arrival=arrival, work=1.0)])))
    return path


@pytest.mark.parametrize("instants", ["", "0\n", "0\n0\n"])
@pytest.mark.parametrize("verb", ["check", "run"])
def test_instants_that_tell_no_rate_are_refused_where_slots_are_planned(
    verb: str, instants: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(fresco, [verb, str(scheduled(instants, tmp_path))])

    assert done.exit_code == 2
    assert "users[0].arrival.file: times.txt has no instant after 0: no rate to plan" in done.output


@pytest.mark.parametrize("instants", ["0.5\n", "0\n1e-9\n", "1800000000\n"])
def test_instants_that_tell_any_rate_are_planned_with(instants: str, tmp_path: Path) -> None:
    path = scheduled(instants, tmp_path)

    words = ("--runtime", "loop", "--json", "--out", str(tmp_path / "runs"))
    status, _, summary = ended("run", path, *words)

    assert status == 0
    assert json.loads(summary)["verdict"] == "good"
