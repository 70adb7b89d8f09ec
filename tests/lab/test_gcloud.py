"""The real `gcloud`, pointed at the fake: a client of the API that others wrote."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cloud import LabCloud, light_cloud
from fake_gcs import FakeGcs
from sample_node import TOOLS

from yoyo.drivers.gce.machines import GceMachines

LIFE = "0197f0c0-0000-7000-8000-000000000001"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GCLOUD = shutil.which("gcloud")


def gcloud(cloud: LabCloud, place: Path, *arguments: str) -> Any:
    """One command's JSON."""
    assert GCLOUD is not None
    token = place / "token"
    _, granted = cloud.fake.auth.grant({"grant_type": JWT_GRANT, "assertion": "a.b.c"})
    token.write_text(str(granted["access_token"]))
    environment = {
        "HOME": str(place),
        "PATH": os.environ["PATH"],
        "CLOUDSDK_CONFIG": str(place / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_PROJECT": cloud.fake.settings.project,
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{cloud.fake.url}/compute/v1/",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
    }
    return json.loads(run(environment, "compute", *arguments, "--format=json"))


def run(environment: dict[str, str], *arguments: str) -> str:
    """One command's output."""
    assert GCLOUD is not None
    done = subprocess.run(
        [GCLOUD, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "did not succeed" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.skipif(GCLOUD is None, reason="gcloud is not installed here")
def test_gcloud_lists_and_describes_what_yoyo_made(tmp_path: Path) -> None:
    with light_cloud(tmp_path) as cloud:
        machines = GceMachines(state_dir=tmp_path / "state", tools=TOOLS)
        machines.create(cloud.node, LIFE)
        (listed,) = gcloud(cloud, tmp_path, "instances", "list")
        assert listed["name"] == "yoyo-l4"
        assert listed["labels"]["yoyo-request"] == LIFE
        zone = listed["zone"].rpartition("/")[2]
        described = gcloud(cloud, tmp_path, "instances", "describe", "yoyo-l4", f"--zone={zone}")
        assert described["scheduling"]["onHostMaintenance"] == "TERMINATE"
        assert described["scheduling"]["instanceTerminationAction"] == "STOP"
        rules = {rule["name"]: rule for rule in gcloud(cloud, tmp_path, "firewall-rules", "list")}
        assert set(rules) == {"yoyo-engine-8443", "yoyo-ssh"}
        assert all(rule["sourceRanges"] == ["203.0.113.7/32"] for rule in rules.values())
        assert [disk["name"] for disk in gcloud(cloud, tmp_path, "disks", "list")] == ["yoyo-l4"]
        assert not cloud.fake.violations


@pytest.mark.skipif(GCLOUD is None, reason="gcloud is not installed here")
def test_gcloud_copies_through_the_fake_store(tmp_path: Path) -> None:
    """In parallel parts that are composed, which is how it sends large files."""
    whole = tmp_path / "whole"
    whole.write_bytes(os.urandom(1 << 20) * 160)
    with FakeGcs(tmp_path / "gcs") as store:
        store.add_bucket("acme")
        environment = {
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
            "CLOUDSDK_CORE_PROJECT": "acme",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{store.url}/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        }
        run(environment, "storage", "cp", str(whole), "gs://acme/whole")
        assert store.calls("storage.objects.compose")
        run(environment, "storage", "cp", "gs://acme/whole", str(tmp_path / "back"))
        assert filecmp.cmp(whole, tmp_path / "back", shallow=False)
