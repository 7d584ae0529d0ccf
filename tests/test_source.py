"""Bad scenarios are explained: every problem at once, with its place and a remedy."""

import json
import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import SHIPPED
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.build.planning import plan
from emulator.checks import check, source
from emulator.checks.source import ScenarioError
from emulator.scenario.arrival_kinds import TraceArrivals

ROOT = Path(__file__).parent.parent
BAD = sorted((ROOT / "tests" / "scenarios_bad").glob("*.yaml"))


GOOD = """\
name: good
seed: 1
duration_s: 10
protocol: {kind: random}
users:
  - name: user
    count: 4
    arrival: {kind: poisson, rate_hz: 2.0}
    input_bits: 98304
base_stations:
  - {name: bs, count: 2}
servers:
  - {name: rack, accelerator: {kind: fitted, service: {distribution: exponential, mean_s: 0.02}}}
channel: {kind: bernoulli, loss: 0.1, rate_bps: 1.0e6}
"""


def expectations(path: Path) -> list[tuple[int, str]]:
    """Reads the `# expect LINE: TEXT` comments at the end of a bad scenario."""
    lines = path.read_text().splitlines()
    marked = [line.removeprefix("# expect ") for line in lines if line.startswith("# expect ")]
    return [(int(text.partition(": ")[0]), text.partition(": ")[2]) for text in marked]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_scenario_is_explained_with_line_and_remedy(path: Path) -> None:
    expected = expectations(path)
    assert expected, "a bad scenario says what it expects"

    with pytest.raises(ScenarioError) as caught:
        source.load(path)

    problems = caught.value.problems
    for line, text in expected:
        said = [f"{p.message}; {p.remedy}" for p in problems if p.line == line]
        assert any(each.startswith(text) for each in said), (
            f"{line}: {text}\nnot in\n{caught.value}"
        )
    assert len(problems) == len(expected) or path.stem in {"topology-without-path"}


def test_there_are_enough_bad_scenarios() -> None:
    assert len(BAD) >= 25


@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_scenario_is_good(path: Path) -> None:
    assert source.load(path).name == path.stem


def test_a_dumped_scenario_is_the_same_scenario(tmp_path: Path) -> None:
    for path in sorted((ROOT / "scenarios").glob("*.yaml")):
        if path.stem == "vision-cifar":
            continue  # needs data that is not shipped
        scenario = source.load(path)
        copy = tmp_path / path.name
        copy.write_text(source.dump(scenario))

        assert source.load(copy) == scenario


def test_the_error_shows_line_caret_and_count() -> None:
    with pytest.raises(ScenarioError) as caught:
        source.load(ROOT / "tests" / "scenarios_bad" / "unknown-kind.yaml")

    assert str(caught.value).splitlines()[1:] == [
        "        arrival: {kind: possion, rate_hz: 2.0}",
        "                  ^",
        "1 problem; nothing was started",
    ]


def test_overrides_change_any_field() -> None:
    changes = {"users.0.count": 3, "protocol": {"kind": "random"}, "seed": 9, "runtime.hosts": 2}

    scenario = source.load(ROOT / "scenarios" / "quickstart.yaml", changes)

    assert scenario.users[0].count == 3
    assert (scenario.protocol.kind, scenario.seed, scenario.runtime.hosts) == ("random", 9, 2)


@pytest.mark.parametrize(
    ("path", "given", "text"),
    [
        (
            "users.7.count",
            3,
            "--set users.7.count=3: users[7].count: there is nothing to set in users[7]",
        ),
        ("users.0.cuont", 3, "users[0].cuont: unknown key 'cuont'; did you mean 'count'?"),
        ("duration_s", "long", "--set duration_s=long: duration_s: 'long' is not a number"),
        ("seed.x.y", 1, "seed.x.y: there is nothing to set in seed"),
        ("chanel.loss", 0.2, "--set chanel.loss=0.2: chanel: unknown key 'chanel'; did you mean"),
        ("users.0.\N{SUPERSCRIPT TWO}", 1, "unknown key '\N{SUPERSCRIPT TWO}'"),
        (
            "users.1.arrival",  # the file has a rate_hz too: it must not be blamed
            {"kind": "poisson", "rate_hz": "q"},
            "'rate_hz': 'q'}: users[1].arrival.rate_hz: 'q' is not a number",
        ),
    ],
)
def test_a_bad_override_is_named_as_the_place(path: str, given: object, text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        source.load(ROOT / "scenarios" / "quickstart.yaml", {path: given})

    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("now", "old", "new"),
    [("distribution:", "law:", "distribution"), ("overdue", "stay_max_s", "sojourn_max_s")],
)
def test_what_was_renamed_is_refused_with_its_new_name(
    now: str, old: str, new: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.yaml"
    path.write_text((ROOT / "scenarios" / "todg.yaml").read_text().replace(now, old))

    with pytest.raises(ScenarioError) as caught:
        source.load(path)

    assert f"'{old.rstrip(':')}' is now called '{new}'" in str(caught.value)
    assert "is missing" not in str(caught.value)


def test_a_whole_number_may_be_written_as_yaml_reads_a_fraction(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("count: 4", "count: 1e1"))

    chosen = source.load(path, {"base_stations.0.count": 3.0, "runtime.hosts": source.value("2e0")})

    assert (chosen.users[0].count, chosen.base_stations[0].count) == (10, 3)
    assert chosen.runtime.hosts == 2
    assert "count: 10\n" in source.dump(chosen)
    with pytest.raises(ScenarioError, match=r"1000\.5 is not a whole number"):
        source.load(path, {"users.0.count": source.value("1.0005e3")})


def test_a_file_in_an_override_is_relative_to_the_scenario() -> None:
    changes = {"users.0.arrival": {"kind": "trace", "file": "inputs/bursts.txt"}}

    scenario = source.load(ROOT / "scenarios" / "quickstart.yaml", changes)

    arrival = scenario.users[0].arrival
    assert isinstance(arrival, TraceArrivals)
    assert Path(arrival.file) == ROOT / "scenarios" / "inputs" / "bursts.txt"


def test_deadlines_nobody_can_meet_and_faults_on_no_link_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    changes = {
        "users.0.deadline_s": 0.001,
        "faults": [
            {"at_s": 1, "type": "blackout", "target": "user-0->rack-0"},
            {"at_s": 1, "type": "partition", "a": ["user-*"], "b": ["bs-*"]},
            {"at_s": 1, "type": "loss", "target": "user-*", "p": 0.5, "only": "control"},
            {"at_s": 1, "type": "loss", "target": "user-0->bs-*", "p": 0.5, "direction": "down"},
            {"at_s": 1, "type": "loss", "target": "group:rack", "p": 0.5, "direction": "down"},
        ],
    }

    messages = [message for _, message, _ in check.warnings(source.load(path, changes))]

    assert messages == [
        "the deadline of 'user', 0.001 s, is shorter than the mean service of the fastest device, "
        "0.02 s",
        "fault 0 (blackout) touches nothing: no link joins 'user-0' and 'rack-0'",
        "fault 2 (loss) touches nothing: 'user-*' has no link of that kind",
        "fault 3 (loss) touches nothing: no link joins 'user-0' and 'bs-*'",
    ]


def messages(path: Path, changes: dict[str, object]) -> list[str]:
    return [message for _, message, _ in check.warnings(source.load(path, changes))]


def test_links_that_carry_less_than_they_are_offered_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    # 2/s x (98304 + 192) bit = 0.197 Mbit/s a user; 4 users keep 0.788 channels of 1 Mbit/s busy.
    shared = {"base_stations.0": {"name": "bs", "access": "granted", "channels": 1}}

    assert messages(path, {}) == []
    assert messages(path, {"channel.rate_bps": 2.0e5}) == []
    assert messages(path, {"channel.rate_bps": 1.9e5}) == [
        "'user-0' offers 1.97e+05 bit/s over a link that carries 1.9e+05: attempts do not wait for "
        "each other, so that more passes than can"
    ]
    assert messages(path, shared) == []
    assert messages(path, shared | {"users.0.count": 6}) == [
        "the users of 'bs-0' would keep 1.18 channels busy, and it has 1: what does not fit "
        "collides, or waits until queues overflow"
    ]


def test_a_fault_that_leaves_a_wire_less_than_it_is_offered_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    # 4 users at one cell offer 0.788 Mbit/s to one server; the radio of each 0.197 Mbit/s.
    fault = {"at_s": 1, "for_s": 2, "type": "rate", "target": "rack-0"}
    changes: dict[str, object] = {"base_stations.0.count": 1}

    assert messages(path, changes | {"faults": [fault | {"rate_bps": 8.0e5}]}) == []
    assert messages(path, changes | {"faults": [fault | {"rate_bps": 7.0e5}]}) == [
        "'bs-0' sends 'rack-0' 7.88e+05 bit/s, and the fault leaves 7e+05: attempts do not wait "
        "for each other, so that more passes than can"
    ]


def test_users_whose_nearest_link_loses_most_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    graph = json.loads((ROOT / "tests" / "scenarios_bad" / "no-positions.json").read_text())
    path.write_text(GOOD.replace("count: 4", "count: 1").replace("count: 2", "count: 1"))
    names = {"cam-0": "user-0"}
    for node in graph["nodes"]:
        node["id"] = names.get(node["id"], node["id"])
    graph["edges"][0] |= {"source": "user-0", "distance_m": 200}
    (tmp_path / "net.json").write_text(json.dumps(graph))
    # 200 m at exponent 3 lose 18.06 dB of the mean SNR at 50 m; P(SNR < t) = 1 - exp(-t / mean) is
    # one half at a mean of t / ln 2, 1.59 dB above the threshold.
    even_db = 5.0 + 10.0 * math.log10(1.0 / math.log(2.0)) + 30.0 * math.log10(4.0)

    def said(snr_db: float) -> list[str]:
        radio = {"kind": "rayleigh", "path_loss_exponent": 3.0, "threshold_db": 5.0}
        topology = {"kind": "file", "file": "net.json"}
        return messages(path, {"channel": radio | {"snr_db": snr_db}, "topology": topology})

    assert said(even_db + 0.01) == []
    assert said(even_db - 1.0) == [
        "1 of 1 'user' lose most of what they send over their nearest link: 'user-0' 58.2 % over "
        "200 m to 'bs-0'"
    ]


def test_a_server_that_no_user_reaches_is_warned_of_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(
        GOOD.replace("poisson, rate_hz: 2.0", "on-grant").replace("98304", "9000")
        + "resend: {attempts_max: 1}\ndownlink: {kind: ideal}\n"
    )
    changes = {
        "protocol.kind": "static-optimum",
        "base_stations.0": {"name": "bs", "access": "slotted", "channels": 1, "grant_s": 0.02},
        "servers.0.count": 3,
        "topology": {"kind": "generated", "servers_per_cell": 1},
    }

    chosen = source.load(path, changes)
    planned = plan(chosen, stopwatch=False)

    (warning,) = messages(path, changes)
    assert warning == "no user reaches 'rack-0', 'rack-2': it never gets a task"
    assert set(planned.allotments) & {"rack-0", "rack-1", "rack-2"} == {"rack-1"}
    assert all(
        math.isfinite(rate) for each in planned.allotments.values() for rate in each.values()
    )


def test_overload_and_faults_past_the_end_are_warned_of() -> None:
    path = ROOT / "scenarios" / "quickstart.yaml"
    changes = {"duration_s": 15, "users.1.count": 600}

    messages = [message for _, message, _ in check.warnings(source.load(path, changes))]

    assert [message.split(":")[0] for message in messages] == [
        "the users offer 2.41e+03 tasks/s, the servers can do 604",
        "fault 0 (blackout) lasts past the end of the run",
    ]


def test_a_fading_downlink_may_fade(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    fault = "{at_s: 1, type: fading, target: user-0, depth_db: 20}"
    path.write_text(f"{GOOD}downlink: {{kind: rayleigh}}\nfaults: [{fault}]\n")

    assert source.load(path).faults[0].type == "fading"


def test_a_flood_of_problems_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "flood.yaml"
    path.write_text(f"{GOOD}faults: [{'x, ' * 5000}x]\n")  # one long line, as JSON would have

    with pytest.raises(ScenarioError) as caught:
        source.load(path)

    lines = str(caught.value).splitlines()
    assert lines[-2:] == ["and 4951 more", "5001 problems; nothing was started"]
    assert len(lines) == 3 * source.SHOWN_MAX + 2
    place, excerpt, caret = lines[120:123]
    assert "faults[40]" in place
    assert len(excerpt) == 4 + source.EXCERPT_MAX
    assert excerpt[caret.index("^")] == "x"
    assert (excerpt[4:7], excerpt[-3:]) == ("...", "...")


def test_a_long_cell_in_a_trace_is_explained(tmp_path: Path) -> None:
    rows = ["t_s,success,rate_bps", "0,1,5", "1,1," + "9" * 200_000]  # csv stops at 131072
    (tmp_path / "trace.csv").write_text("\n".join(rows))
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.partition("channel:")[0] + "channel: {kind: trace, file: trace.csv}\n")

    with pytest.raises(ScenarioError, match="field larger than"):
        source.load(path)


def test_any_text_after_set_is_a_value() -> None:
    assert source.value("1e-3") == 0.001
    assert source.value("2020-13-45") == "2020-13-45"  # no such date: then it is text


def test_a_missing_file_a_folder_and_bytes_are_explained(tmp_path: Path) -> None:
    noise = tmp_path / "noise.yaml"
    noise.write_bytes(b"\xff\xfe\x00")
    for path, text in (
        (tmp_path / "no.yaml", "there is no such file"),
        (tmp_path, "is a folder"),
        (noise, "is not UTF-8 text"),
    ):
        with pytest.raises(ScenarioError, match=text):
            source.load(path)


def test_aliases_do_not_blow_up(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for depth in range(1, 9):
        again = ", ".join([f"*a{depth - 1}"] * 10)
        lines.append(f"a{depth}: &a{depth} [{again}]")
    bomb.write_text("\n".join(lines))

    with pytest.raises(ScenarioError, match="aliases"):
        source.load(bomb)


def test_yaml_tags_build_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "tag.yaml"
    path.write_text("name: !!python/object/apply:os.system ['touch pwned']\n")

    with pytest.raises(ScenarioError):
        source.load(path)

    assert not Path("pwned").exists()


TEXT = (ROOT / "scenarios" / "rayleigh.yaml").read_text()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(TEXT) - 1), st.text(st.characters(codec="utf-8"), max_size=3)),
        min_size=1,
        max_size=4,
    )
)
def test_a_mutated_scenario_loads_or_is_explained(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, str]]
) -> None:
    text = TEXT
    for at, replacement in edits:
        text = text[:at] + replacement + text[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(text)
    with suppress(ScenarioError):  # and nothing else
        source.load(path)


def test_the_command_exits_2_and_starts_nothing(tmp_path: Path) -> None:
    bad = ROOT / "tests" / "scenarios_bad" / "five-mistakes.yaml"
    words = [sys.executable, "-m", "emulator"]
    for verb in (["check", str(bad)], ["run", str(bad), "--out", str(tmp_path / "runs")]):
        done = subprocess.run([*words, *verb], capture_output=True, text=True, cwd=ROOT)

        assert done.returncode == 2
        assert "5 problems; nothing was started" in done.stderr
    assert not (tmp_path / "runs").exists()
