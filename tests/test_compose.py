"""The container files say what they mean, as far as that shows without a container engine."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"
# What compose replaces before a container sees it: a value with a default, and `$$` for `$`.
TEXT = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
FILE = YAML(typ="safe").load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
EACH = pytest.mark.parametrize("name", SERVICES)


def commands() -> list[list[str]]:
    """Returns every command line that the services run, `sh -c` scripts taken apart."""
    found = []
    for service in SERVICES.values():
        words = service.get("command", [])
        if words[:2] == ["sh", "-c"]:
            script = words[2].replace("$$", "$")
            for key, value in service["environment"].items():
                script = script.replace(f"${{{key}}}", str(value))
            found += [shlex.split(line.removeprefix("exec ")) for line in script.split(" && ")]
            if found[-1][0] == "emulator.sh":  # what it makes of its words
                text = (ROOT / "deploy/emulator.sh").read_text().replace("\\\n", " ")
                head, *words = found.pop()[1:]
                for line in re.findall(r"^ *((?:ray|fresco) [^|&>\n]*)", text, flags=re.M):
                    asked = line.replace('"$head"', head).replace('"$@"', shlex.join(words))
                    found.append(shlex.split(asked))
        elif words:
            program = [] if words[0] == "ray" else ["prometheus"]  # the image's entry point
            found.append([*program, *words])
    return found


def test_it_follows_the_compose_specification() -> None:
    words = ["--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *words], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="no docker-compose here")
def test_docker_compose_reads_it() -> None:
    done = subprocess.run(
        ["docker-compose", "config", "-q"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


@EACH
def test_what_a_service_names_exists(name: str) -> None:
    service = SERVICES[name]

    for other, how in service.get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[other]
    kind, _, other = service.get("network_mode", "").partition(":")
    assert (kind, other in SERVICES) in (("", False), ("service", True))
    assert set(service.get("secrets", [])) <= FILE["secrets"].keys()
    for volume in service.get("volumes", []):
        assert ":" in volume  # else it has no name, and is left behind
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in FILE["volumes"]
    secret_paths = re.findall(r"/run/secrets/([\w-]+)", str(service.get("environment")))
    assert set(secret_paths) <= set(service.get("secrets", []))


def test_everything_that_is_declared_is_used() -> None:
    used = {volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", [])}

    assert FILE["volumes"].keys() <= used
    assert FILE["secrets"].keys() == set(chain(*(s.get("secrets", []) for s in SERVICES.values())))


@EACH
def test_a_service_is_pinned_watched_and_on_loopback_only(name: str) -> None:
    service = SERVICES[name]

    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert service["healthcheck"]["test"][0] == "CMD"
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "env_file" not in service
    assert "privileged" not in service


def test_the_object_stores_fit_into_shared_memory() -> None:
    sizes = re.findall(r"--object-store-memory=(\d+)", str(commands()))

    assert len(sizes) == 3
    assert all(
        SERVICES[each]["shm_size"] == "2gb" for each in ("ray-head", "ray-worker", "emulator")
    )
    assert max(map(int, sizes)) < 2 * 1024**3


def test_hosts_that_other_files_name_are_services() -> None:
    prometheus = YAML(typ="safe").load(ROOT / "deploy/prometheus/prometheus.yml")
    source = YAML(typ="safe").load(ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml")
    hosts = set(re.findall(r"https?://([\w-]+):", source["datasources"][0]["url"] + TEXT))
    for job in prometheus["scrape_configs"]:
        hosts |= {t.split(":")[0] for s in job["static_configs"] for t in s["targets"]}
        hosts |= set(chain(*(s["names"] for s in job.get("dns_sd_configs", []))))

    assert {host for host in hosts if host[0].isalpha()} <= SERVICES.keys()
    (fresco,) = (job for job in prometheus["scrape_configs"] if job["job_name"] == "fresco")
    # The live page is what is scraped, with the token that it wants.
    assert fresco["static_configs"] == [{"targets": ["emulator:7373"]}]
    secret = fresco["authorization"]["credentials_file"]
    assert SERVICES["emulator"]["environment"]["FRESCO_TOKEN_FILE"] == secret
    assert Path(secret).name in SERVICES["prometheus"]["secrets"]


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[:2]))
def test_every_command_is_understood(words: list[str]) -> None:
    """Options are parsed before `--help` is obeyed: an unknown one exits with an error."""
    if words[0] == "fresco":
        program = [sys.executable, "-m", "emulator"]
    elif words[0] == "ray":
        program = [sys.executable, "-m", "ray.scripts.scripts"]
    elif shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here: apt-get install {words[0]}")
    else:
        program = [words[0]]

    good = subprocess.run([*program, *words[1:], "--help"], cwd=ROOT, capture_output=True)
    bad = subprocess.run([*program, *words[1:], "--bogus", "--help"], cwd=ROOT, capture_output=True)

    assert good.returncode == 0, good.stderr
    assert bad.returncode != 0


def dockerfile(first: str) -> list[list[str]]:
    """Returns the words of each of the Dockerfile's instructions of one kind."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split()[1:] for line in text.splitlines() if line.split()[:1] == [first]]


def test_the_image_holds_what_the_package_is_built_from() -> None:
    bases = {words[0] for words in dockerfile("FROM")}
    copied = set(chain(*(w[:-1] for w in dockerfile("COPY") if not w[0].startswith("--from="))))

    assert len(bases) == 1  # the wheel is built by the Python that installs it
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", *bases)
    assert all((ROOT / each).exists() for each in copied)
    project = (ROOT / "pyproject.toml").read_text()
    named = set(re.findall(r'^    "(\w+)[\w.]*",$|= "(scenarios)"', project, flags=re.M))
    assert {name for pair in named for name in pair if name and (ROOT / name).is_dir()} <= copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "*" in ignored
    assert ["fresco"] in dockerfile("USER")


def test_nothing_that_is_copied_shadows_the_package_and_no_volume_is_without_a_name() -> None:
    place = dockerfile("WORKDIR")[-1][0]
    last = (ROOT / "Dockerfile").read_text().split("FROM ")[-1]

    assert dockerfile("VOLUME") == []
    after = last[last.index(f"WORKDIR {place}") :]
    assert "COPY" not in after
    assert "chown -R fresco ." in after  # a run's folder is made there
    for volume in SERVICES["emulator"]["volumes"]:
        assert volume.split(":")[1].startswith(f"{place}/")


def test_the_image_installs_what_a_run_needs_and_no_more() -> None:
    locks = [word for words in dockerfile("RUN") for word in words if word.endswith(".lock")]

    assert [Path(each).name for each in locks] == ["requirements.lock"]
    assert ["TORCH_INDEX"] in dockerfile("ARG")
    assert all(s["build"]["args"] == ["TORCH_INDEX"] for s in SERVICES.values() if "build" in s)


def test_the_live_page_is_on_the_hosts_loopback_behind_a_token() -> None:
    emulator = SERVICES["emulator"]
    (run,) = (words for words in commands() if words[:2] == ["fresco", "run"])

    port = run[run.index("--dashboard-port") + 1]
    assert emulator["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert run[run.index("--dashboard-host") + 1] == "0.0.0.0"
    assert run[run.index("--runtime") + 1] == "ray"  # whatever a scenario of one's own names
    assert emulator["environment"]["FRESCO_TOKEN_FILE"] == "/run/secrets/fresco-token"


def test_a_run_that_is_stopped_has_time_for_its_report() -> None:
    assert SERVICES["emulator"]["stop_signal"] == "SIGINT"
    assert SERVICES["emulator"]["stop_grace_period"] == "2m"  # a report takes seconds, or a minute


# Stands in for `ray` and `fresco`: tells what it was asked, and how a run ended.
STAND_IN = """#!/bin/bash
echo "${0##*/} $1" >> "$TOLD"
[ "${0##*/} $1" = "fresco run" ] || exit 0
trap 'echo interrupted >> "$TOLD"; exit 130' INT
echo running >> "$TOLD"
[ -z "$LASTS" ] || for _ in {1..300}; do sleep 0.1; done
exit "$STATUS"
"""


def drive(folder: Path, status: str, lasts: str = "") -> subprocess.Popen[bytes]:
    """Starts deploy/emulator.sh with stand-ins for the programs that it calls."""
    for name in ("ray", "fresco"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    (folder / "reported").touch()
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "TOLD": str(folder / "reported")}
    return subprocess.Popen(
        [ROOT / "deploy/emulator.sh", "head:6379", "quickstart"],
        env={**environment, "STATUS": status, "LASTS": lasts},
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("status", ["0", "3"])
def test_the_emulator_leaves_the_cluster_when_its_run_ended(tmp_path: Path, status: str) -> None:
    assert drive(tmp_path, status).wait(timeout=30) == int(status)

    reported = (tmp_path / "reported").read_text().splitlines()
    assert reported == ["ray start", "fresco run", "running", "ray stop"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_the_run_which_then_leaves_the_cluster(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = drive(tmp_path, "0", lasts="yes")
    give_up_s = time.monotonic() + 30.0
    while "running" not in (tmp_path / "reported").read_text():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    process.send_signal(number)

    assert process.wait(timeout=30) == 130
    reported = (tmp_path / "reported").read_text().splitlines()
    assert reported == ["ray start", "fresco run", "running", "interrupted", "ray stop"]


def test_secrets_made_with_any_umask_are_read_in_containers_and_by_nobody_else(
    tmp_path: Path,
) -> None:
    """A container's user is another one than who made them; the folder keeps out all others."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    made = ["make", "--silent", "secrets"]
    subprocess.run(made, cwd=tmp_path, check=True, umask=0o077)
    folder = tmp_path / "deploy/secrets"
    before = {file.name: file.read_text() for file in folder.iterdir()}
    subprocess.run(made, cwd=tmp_path, check=True, umask=0o022)

    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert before.keys() == FILE["secrets"].keys()
    assert all(len(text.strip()) == 32 for text in before.values())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
