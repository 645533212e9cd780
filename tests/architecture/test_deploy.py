"""What `deploy/` says is understood by the programs it is for, as far as they are here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from media_service.config import Settings as MediaSettings
from user_service.config import Settings as UserSettings

from tests.e2e.topology import HAPROXY

DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLES = sorted((DEPLOY / "env").glob("*.env.example"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")


def variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.name)
def test_the_examples_name_settings_that_exist(example: Path) -> None:
    known = {f"MEDIAD_{name.upper()}" for name in MediaSettings.model_fields}
    known |= {f"USERD_{name.upper()}" for name in UserSettings.model_fields}
    named = {n for n in variables(example.read_text()) if n.startswith(("MEDIAD_", "USERD_"))}

    assert named <= known


def test_the_balancer_is_told_every_address_it_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "haproxy.cfg").read_text()))

    assert asked == set(variables((DEPLOY / "env" / "haproxy.env.example").read_text()))


@pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed")
def test_haproxy_takes_its_configuration_without_a_warning() -> None:
    assert HAPROXY
    given = variables((DEPLOY / "env" / "haproxy.env.example").read_text())
    names = {f"{name}_HOST": "127.0.0.1" for name in ("MEDIA_ONE", "MEDIA_TWO")}
    addresses = {f"{name}_GRPC": "127.0.0.1:1" for name in ("MEDIA_ONE", "MEDIA_TWO")}
    here = given | names | addresses | {"USERS_ONE": "127.0.0.1:1"}

    checked = subprocess.run(
        [HAPROXY, "-c", "-f", DEPLOY / "haproxy.cfg"],
        env=here,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda file: file.name)
def test_systemd_takes_the_units(unit: Path) -> None:
    assert ANALYZE
    verified = subprocess.run(
        [ANALYZE, "verify", unit], capture_output=True, text=True, check=False
    )

    doubts = [line for line in verified.stderr.splitlines() if "/opt/mediad/bin/" not in line]
    assert doubts == []  # but for the programs, which are not installed here


def test_the_composed_services_are_those_of_the_topology() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())

    commands = {name: service.get("command") for name, service in composed["services"].items()}
    assert [commands[name][-1] for name in ("media-one", "media-two")] == ["grpc,http"] * 2
    assert [commands[name][-1] for name in ("worker-one", "worker-two")] == ["worker"] * 2
    assert commands["users"] == ["userd", "serve"]
    assert {"haproxy", "postgres", "valkey", "s3"} <= commands.keys()
    for name, service in composed["services"].items():
        files = {file.removeprefix("env/") for file in service.get("env_file", [])}
        assert files <= {file.name.removesuffix(".example") for file in EXAMPLES}, name
