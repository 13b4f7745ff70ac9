"""`ssd doctor` tells a healthy installation from a broken one, and what is missing for what; `ssd completion`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from singleshot import machine
from singleshot.cli.main import run
from singleshot.commands import doctor, engine_probe
from singleshot.commands.extras import FOR_DEVELOPERS, PURPOSES, read_extras
from singleshot.errors import ModelError

HEALTHY = {
    "model": "m", "engine": "openvino int8", "label": "cat", "score": 0.9, "compiled": True,
    "first": 0.5, "milliseconds": 4.0, "rate": 100e9,
}  # fmt: skip


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The answers of all probes, to be changed; none is run."""
    answers: dict[str, dict[str, Any]] = {name: {"version": "1.2"} for name in doctor.ENGINES}
    answers["torch"]["gpus"] = []
    answers["detection"] = dict(HEALTHY)
    monkeypatch.setattr(doctor, "run_probe", lambda name: dict(answers[name]))
    monkeypatch.setattr(doctor, "NVIDIA", Path("no such file"))
    return answers


def test_a_healthy_installation(probes: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    output = capsys.readouterr().out
    assert "detection works: cat 90% by m (openvino int8)" in output
    assert "speed: 4.0 ms" in output
    assert "to mend" not in output
    told = json.loads((tmp_path / "doctor.json").read_text())
    assert told["detection"]["works"] is True
    assert told["expected"]["ssd300-vgg16"] == pytest.approx(627)  # 62.7 G operations at 100 G/s
    assert told["processor"]["cores"] >= 1


@pytest.mark.parametrize(
    ("answer", "exit_code", "token"),
    [
        ({"error": "HashError: model.bin", "exit_code": 3}, 3, "model.bin"),
        ({"error": "no answer within 9 s", "exit_code": 4}, 4, "no answer"),
        (HEALTHY | {"label": None, "score": None}, 4, "nothing was found"),
    ],
)
def test_where_detection_fails_the_exit_code_says_so(
    probes: dict[str, Any], capsys: pytest.CaptureFixture[str], answer: dict[str, Any], exit_code: int, token: str
) -> None:
    probes["detection"] = answer
    assert run(["doctor"]) == exit_code
    assert token in capsys.readouterr().out


def test_what_is_to_be_mended(
    probes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probes["detection"]["compiled"] = False
    (tmp_path / "driver").touch()
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path / "driver")
    monkeypatch.setattr(doctor, "_is_there", lambda name: name.startswith("opencv-python"))
    assert run(["doctor"]) == 0
    output = capsys.readouterr().out
    for token in ("C compiler", "NVIDIA driver", "pip uninstall opencv-python opencv-python-headless"):
        assert token in output


def test_a_library_that_ends_its_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess((), -4, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: killed)
    assert "SIGILL" in doctor.run_probe("detection")["error"]
    monkeypatch.setattr(doctor, "_is_there", lambda _name: False)
    assert doctor.run_probe("torch") == {"error": "not installed", "exit_code": 2}


def test_a_library_that_cannot_be_imported_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine_probe.main("onnxruntime")
    assert "onnxruntime" in json.loads(capsys.readouterr().out)["error"]

    def broken() -> None:
        raise ModelError("config.json is empty")

    monkeypatch.setattr(engine_probe, "probe_detection", broken)
    engine_probe.main("detection")
    assert json.loads(capsys.readouterr().out) == {"error": "config.json is empty", "exit_code": 2}


def test_the_probes_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_probe, "SECONDS", 0.0)
    detection = engine_probe.probe_detection()
    assert detection["label"] == "cat"
    assert detection["engine"].startswith("openvino")
    assert detection["milliseconds"] > 0
    assert doctor.run_probe("cv2")["version"] == engine_probe.probe_engine("cv2")["version"]


def test_a_file_of_the_present_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(tmp_path)
    assert "error" not in doctor.run_probe("cv2")


def test_extras_lack_what_is_not_installed_or_too_old() -> None:
    extras, missing = read_extras(
        [
            "numpy>=2.2",
            "never-written>=1",
            'pillow>=13,<14; extra == "a"',
            'pillow<2; extra == "old"',
            'singleshot[old]; extra == "b"',
            'not-there; extra == "b"',
        ]
    )
    assert missing == ("never-written>=1",)
    assert {extra.name: extra.missing for extra in extras} == {
        "a": (), "old": ("pillow<2",), "b": ("pillow<2", "not-there"),
    }  # fmt: skip
    assert extras[2].install == "pip install 'singleshot[b]'"


def test_every_extra_has_its_purpose() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) - FOR_DEVELOPERS == set(PURPOSES)


def test_a_container_s_limits(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/a/b\n")
    inner = tmp_path / "groups/a/b"
    inner.mkdir(parents=True)
    assert machine.core_quota(tmp_path / "groups", membership) is None
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("150000 100000\n")
    (inner / "memory.max").write_text("1048576\n")
    assert machine.core_quota(tmp_path / "groups", membership) == 1.5
    assert machine.memory_limit(tmp_path / "groups", membership) == 1048576
    assert machine.memory_limit(tmp_path / "groups", tmp_path / "none") is None


def test_a_board_with_an_arm_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n\nModel\t\t: Raspberry Pi 5\n")
    assert machine.processor_name(tmp_path / "cpuinfo") == "Raspberry Pi 5"
    assert machine.processor_features(tmp_path / "cpuinfo") == ["asimddp"]
    assert machine.processor_features(tmp_path / "nothing") == []


def test_memory_is_told_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  2 kB\nMemAvailable:  1 kB\n")
    assert machine.memory(tmp_path / "meminfo") == {"total": 2048, "available": 1024}


def completions(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word of a command line, by the script."""
    program = (
        f"source {script}; COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; "
        "_ssd; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run([shutil.which("bash") or "", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_flags_and_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "bash"]) == 0
    script = tmp_path / "ssd.bash"
    script.write_text(capsys.readouterr().out)
    assert {"detect", "doctor"} <= completions(script, "ssd", "d")
    assert completions(script, "ssd", "doctor", "--j") == {"--json"}
    assert {"check", "convert"} <= completions(script, "ssd", "data", "")
    assert completions(script, "ssd", "export", "m", "--precision", "i") == {"int8"}


@pytest.mark.parametrize(("shell", "check"), [("zsh", "zsh"), ("fish", "fish")])
def test_other_shells_take_their_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shell: str, check: str
) -> None:
    assert run(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert "doctor" in script.read_text()
    if shutil.which(check) is None:
        pytest.skip(f"{check} is not installed: its script was made, but not read")
    subprocess.run([check, "-n", str(script)], check=True)
