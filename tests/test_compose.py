"""The container files say what they mean, as far as that shows without a container engine."""

import re
import shlex
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize("name", ["ray-head", "ray-worker", "emulator"])
def test_the_object_store_fits_into_shared_memory(name: str) -> None:
    (size,) = re.findall(r"--object-store-memory=(\d+)", str(SERVICES[name]["command"]))

    assert SERVICES[name]["shm_size"] == "2gb"
    assert int(size) < 2 * 1024**3


def test_hosts_that_other_files_name_are_services() -> None:
    prometheus = YAML(typ="safe").load(ROOT / "deploy/prometheus/prometheus.yml")
    source = YAML(typ="safe").load(ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml")
    hosts = set(re.findall(r"https?://([\w-]+):", source["datasources"][0]["url"] + TEXT))
    for job in prometheus["scrape_configs"]:
        hosts |= {t.split(":")[0] for s in job["static_configs"] for t in s["targets"]}
        hosts |= set(chain(*(s["names"] for s in job.get("dns_sd_configs", []))))

    assert {host for host in hosts if host[0].isalpha()} <= SERVICES.keys()
    # The emulator's metrics are on the loopback that Prometheus sees.
    assert SERVICES["emulator"]["network_mode"] == "service:prometheus"


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


def test_the_image_holds_what_the_package_is_built_from() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()

    (base,) = (line.split()[1] for line in lines if line.startswith("FROM "))
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    copied = set(chain(*(line.split()[1:-1] for line in lines if line.startswith("COPY "))))
    assert all((ROOT / each).exists() for each in copied)
    project = (ROOT / "pyproject.toml").read_text()
    named = set(re.findall(r'^    "(\w+)[\w.]*",$|= "(scenarios)"', project, flags=re.M))
    assert {name for pair in named for name in pair if name and (ROOT / name).is_dir()} <= copied
    assert "USER fresco" in lines
