"""Recorded inputs as other tools write them: read as meant, or refused with the line."""

from pathlib import Path

import pytest

from emulator.spec.traces import read_channel, read_times

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
    ("written", "told"),
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
    written: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "trace.csv").write_text(written)

    with pytest.raises(ValueError, match=told):
        read_channel(tmp_path / "trace.csv")


def test_instants_may_have_a_mark_blank_lines_and_any_line_ends(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_bytes("\ufeff0.5\r\n\r\n 1.0 \r\n".encode())

    assert read_times(tmp_path / "times.txt") == (0.5, 1.0)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("-1\n2\n", "times.txt:1: -1.0 is before the run begins"),
        ("\n2\n1\n", "times.txt:3: 1.0 is earlier than the line before"),
    ],
)
def test_instants_out_of_place_are_refused_with_their_line(
    written: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "times.txt").write_text(written)

    with pytest.raises(ValueError, match=told):
        read_times(tmp_path / "times.txt")
