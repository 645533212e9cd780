"""The alerts and the dashboard: what they ask for is what running services tell."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from fakes.s3_server import make_bucket, running_seaweedfs
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import Mediad, Stub, upload_request
from tests.e2e.userd_process import Userd

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
FROM_ELSEWHERE = frozenset({"mediad_worker_restarts_total"})  # of a supervisor only
"""Metrics that may be asked for before there is anything to tell of them."""
OF_PROMETHEUS = frozenset({"up"})
LABELS_OF_PROMETHEUS = frozenset({"instance", "job"})
OURS = re.compile(r"mediad_|userd_")
_WORDS = frozenset({"by", "without", "and", "or", "unless", "offset", "on", "ignoring", "bool"})
_SELECTOR = re.compile(r"([a-z_:][\w:]*)\{([^}]*)\}")
_NAME = re.compile(r"(?<![\w$\]])[a-z_:][\w:]*(?!\s*\(|\w)")

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_s3, pytest.mark.timeout(300)]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return found


def expressions() -> list[str]:
    asked = [rule["expr"] for rule in rules()]
    return asked + [t["expr"] for panel in panels() for t in panel.get("targets", [])]


def metrics_of(expression: str) -> set[str]:
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expression)
    plain = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", plain)
    plain = re.sub(r"\boffset\s+\w+", "", plain)
    return {name for name in _NAME.findall(plain) if name not in _WORDS}


def labels_of(expression: str) -> list[tuple[set[str], set[str]]]:
    """Labels, each with the metrics of which one must have them."""
    asked = [
        ({name}, set(re.findall(r"(\w+)\s*[=!]~?", re.sub(r'"[^"]*"', "", selector))))
        for name, selector in _SELECTOR.findall(expression)
    ]
    grouped = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    names = metrics_of(expression)
    return asked + [(names, set(re.findall(r"\w+", group))) for group in grouped]


@pytest.fixture(scope="module")
def mediad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediad]:
    """A service on S3, of which alerts and panels ask too."""
    folder = tmp_path_factory.mktemp("mediad")
    with running_seaweedfs(folder / "s3") as server:
        bucket = make_bucket(server, "media")
        own = Mediad(
            folder / "own",
            MEDIAD_STORAGE_URL=f"s3://{bucket}/media?endpoint={server.endpoint}",
            AWS_ACCESS_KEY_ID=server.access_key,
            AWS_SECRET_ACCESS_KEY=server.secret_key,
        )
        with own.running():
            yield own


@pytest.fixture(scope="module")
def users(mediad: Mediad, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Userd]:
    with Userd(tmp_path_factory.mktemp("userd"), mediad).running() as process:
        yield process


@pytest.fixture
async def told(
    mediad: Mediad, users: Userd, media: Stub, http: httpx.AsyncClient, photo: bytes
) -> Mapping[str, set[str]]:
    """The labels of every metric that both services tell of after some traffic."""
    uploaded = await media.UploadMedia(upload_request(photo))
    assert (await http.get(uploaded.url)).status_code == 200
    assert (await http.get(f"{mediad.base_url}/media/nothing/full")).status_code == 400
    with pytest.raises(grpc.aio.AioRpcError):
        await media.UploadMedia(upload_request(b"no picture at all, not at all"))
    assert (await http.get(f"{users.base_url}/api/v1/profile")).status_code == 401
    await _until_a_job_is_done(mediad, http)
    told: dict[str, set[str]] = {}
    for service in (mediad, users):
        scraped = await http.get(f"{service.base_url}/metrics")
        for family in text_string_to_metric_families(scraped.text):
            for name in _names(family.name, family.type):
                told.setdefault(name, set())
            for sample in family.samples:
                told.setdefault(sample.name, set()).update(sample.labels)
    return told


async def _until_a_job_is_done(mediad: Mediad, http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while "mediad_job_seconds_count" not in (await http.get(f"{mediad.base_url}/metrics")).text:
            await asyncio.sleep(0.05)


def _names(name: str, type: str) -> list[str]:
    """What its samples will be called, where there is none yet."""
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return [name + ending for ending in endings.get(type, [""])]


async def test_every_metric_that_is_asked_for_is_told(told: Mapping[str, set[str]]) -> None:
    asked = {name for expression in expressions() for name in metrics_of(expression)}

    assert asked - set(told) - OF_PROMETHEUS - FROM_ELSEWHERE == set()


async def test_every_label_that_is_asked_for_is_told(told: Mapping[str, set[str]]) -> None:
    missing = [
        (expression, label)
        for expression in expressions()
        for names, labels in labels_of(expression)
        for label in labels - LABELS_OF_PROMETHEUS
        if any(told.get(name) for name in names)
        and not any(label in told.get(name, set()) for name in names)
    ]

    assert missing == []


async def test_every_metric_of_ours_is_written_down(told: Mapping[str, set[str]]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    ours = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in told if OURS.match(name)}

    assert {name for name in ours if name not in page} == set()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do_and_where_it_is_explained(rule: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    anchors = {line[4:].lower() for line in page.splitlines() if line.startswith("### ")}

    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (ROOT / file).name == "operations.md"
    assert anchor == rule["alert"].lower()
    assert anchor in anchors
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_no_alert_is_explained_that_there_is_not() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]

    explained = re.findall(r"^### (\w+)$", section, re.MULTILINE)

    assert explained == [rule["alert"] for rule in rules()]


def test_the_dashboard_has_its_rows_and_no_panel_twice() -> None:
    titles = [panel["title"] for panel in panels() if panel["type"] == "row"]
    numbers = [panel["id"] for panel in panels()]

    assert set(titles) >= {"Traffic", "Latency", "Errors", "Jobs", "Cells", "Storage", "Database"}
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yaml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts.test.yaml"),
    ],
    ids=" ".join,
)
def test_prometheus_itself_agrees(arguments: tuple[str, ...]) -> None:
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed (Debian: prometheus), nor named by PROMTOOL")

    ended = subprocess.run(
        [promtool, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
