"""The files in `deploy/` name flags, paths and users that exist and agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from singleshot.serve.openapi import openapi_document
from singleshot.serve.settings import ServeSettings
from test_advice import flags

DEPLOY = Path(__file__).parents[1] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "singleshot.service").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["singleshot"]
KUBERNETES = {item["kind"]: item for item in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
USER = "10001"


def test_every_flag_is_one_of_ssd_serve() -> None:
    named = set(re.findall(r"(?<=\")--[a-z-]+", DOCKERFILE.partition("ENTRYPOINT")[2]))
    named |= {flag for flag in CONTAINER["args"] if flag.startswith("--")}
    named |= {flag for line in UNIT.splitlines() if "ssd serve" in line for flag in re.findall(r"--[a-z-]+", line)}
    assert "--token-file" in named
    assert named <= flags("serve")


def test_every_path_that_is_asked_for_its_health_exists() -> None:
    paths = {CONTAINER[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    paths.add(re.findall(r"http://127\.0\.0\.1:8000(/[\w/]+)", DOCKERFILE)[0])
    assert len(paths) == 2
    assert paths <= set(openapi_document("tiny", ServeSettings(), min_score=0)["paths"])


def test_it_runs_as_a_user_without_rights_on_a_system_that_is_read_only() -> None:
    assert f"\nUSER {USER}:{USER}\n" in DOCKERFILE
    assert COMPOSE["user"] == f"{USER}:{USER}"
    assert POD["securityContext"]["runAsUser"] == int(USER)
    assert COMPOSE["read_only"] is CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert COMPOSE["cap_drop"] == CONTAINER["securityContext"]["capabilities"]["drop"] == ["ALL"]
    for line in ("DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=\n"):
        assert line in UNIT


def test_what_is_in_flight_has_time_to_be_answered() -> None:
    longest = ServeSettings().deadline
    assert POD["terminationGracePeriodSeconds"] > longest + 5  # the seconds of preStop
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) > longest
    assert int(re.findall(r"TimeoutStopSec=(\d+)", UNIT)[0]) > longest
    assert "SuccessExitStatus=143" in UNIT


def test_the_image_holds_no_torch_and_no_files_but_its_own() -> None:
    assert re.findall(r"'\.\[(.*)\]'", DOCKERFILE) == ["serve"]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    }
    assert copied == {line[1:] for line in ignored if line.startswith("!")}


def test_mounts_have_their_volumes() -> None:
    def names(items: list[Any]) -> set[str]:
        return {item["name"] for item in items}

    assert names(CONTAINER["volumeMounts"]) == names(POD["volumes"])
    token = next(mount for mount in CONTAINER["volumeMounts"] if mount["name"] == "token")
    assert token["mountPath"] == json.loads(DOCKERFILE.partition("ENTRYPOINT ")[2])[-1]
