"""`ssd doctor`: what is installed, whether detection works, what speed to expect, and what is missing for what."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from singleshot import machine
from singleshot.commands.engine_probe import DETECTION
from singleshot.commands.extras import Extra, read_extras

ENGINES = {
    "openvino": "detects with exported models",
    "cv2": "reads images and videos",
    "torch": "trains; detects with models that are not exported",
    "onnxruntime": "detects with models in ONNX",
}
"""Libraries that multiply or decode -> what they do here."""
OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
NVIDIA = Path("/proc/driver/nvidia/version")
LONGEST = 120
"""Seconds until a probe is given up."""
OPERATIONS = {
    "ssd300-vgg16": (62.7e9, 1.0),
    "ssd512-vgg16": (180.4e9, 1.0),
    "ssd300-mobilenetv1": (2.3e9, 0.5),
    "ssdlite320-mobilenetv2": (1.4e9, 0.5),
}
"""Architecture -> operations an image, and what share of the machine's fp32 rate its layers reach (docs/speed.md)."""


@dataclass(frozen=True)
class Diagnosis:
    """What `ssd doctor` found.

    Attributes:
        versions: of `singleshot`, `python` and `system`.
        processor: `name`, `features`, `cores` that this process may use, `quota` in cores or None.
        memory: bytes: `total`, `available`, `limit`, where they are known.
        engines: library -> `version`, or `error`; see `engine_probe`.
        detection: see `engine_probe.probe_detection`, with `works`; or `error` and `exit_code`.
        expected: architecture -> milliseconds an image in fp32, by arithmetic.
        extras: with what is missing of each.
        remarks: what to mend, a line each.
    """

    versions: dict[str, str]
    processor: dict[str, Any]
    memory: dict[str, int]
    engines: dict[str, dict[str, Any]]
    detection: dict[str, Any]
    expected: dict[str, float]
    extras: list[Extra]
    remarks: list[str]

    @property
    def exit_code(self) -> int:
        """0 where detection works, else that of its error."""
        return 0 if self.detection["works"] else int(self.detection.get("exit_code", 4))

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        extras = {
            extra.name: {"for": extra.purpose, "missing": list(extra.missing), "install": extra.install}
            for extra in self.extras
        }
        return asdict(self) | {"extras": extras}


def diagnose() -> Diagnosis:
    """Look at the machine and the installation; takes some 4 seconds, most of them torch's start."""
    extras, missing = read_extras()
    with ThreadPoolExecutor(machine.usable_cores()) as pool:
        engines = dict(zip(ENGINES, pool.map(run_probe, ENGINES), strict=True))
    detection = run_probe(DETECTION)  # alone: its speed is measured
    detection["works"] = "error" not in detection and detection["label"] is not None
    rate = detection.get("rate")
    return Diagnosis(
        versions={
            "singleshot": metadata.version("singleshot"),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        },
        processor={
            "name": machine.processor_name(),
            "features": machine.processor_features(),
            "cores": machine.usable_cores(),
            "quota": machine.core_quota(),
        },
        memory=machine.memory() | ({} if (limit := machine.memory_limit()) is None else {"limit": limit}),
        engines=engines,
        detection=detection,
        expected={name: 1000 * count / (share * rate) for name, (count, share) in OPERATIONS.items()} if rate else {},
        extras=extras,
        remarks=list(_remarks(engines, detection, missing)),
    )


def run_probe(name: str) -> dict[str, Any]:
    """The answer of `engine_probe` in a process of its own, or `error` in one line and `exit_code`.

    Python's -P keeps a file of that name in the present folder from being imported in place of the library.
    """
    if name != DETECTION and not any(_is_there(distribution) for distribution in _distributions(name)):
        return {"error": "not installed", "exit_code": 2}
    command = [sys.executable, "-P", "-m", "singleshot.commands.engine_probe", name]
    try:
        done = subprocess.run(  # noqa: S603 (our own)
            command, capture_output=True, check=False, text=True, errors="replace", timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {LONGEST} s", "exit_code": 4}
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"its process ended by {_ending(done.returncode)}", "exit_code": 4}
    assert isinstance(answer, dict)
    return answer


def _distributions(module: str) -> tuple[str, ...]:
    return OPENCVS if module == "cv2" else (module,)


def _is_there(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _ending(code: int) -> str:
    """`SIGILL, an instruction that this processor lacks`, or the exit code."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, an instruction that this processor lacks" if name == "SIGILL" else name


def _remarks(engines: dict[str, dict[str, Any]], detection: dict[str, Any], missing: tuple[str, ...]) -> Iterator[str]:
    if missing:
        yield f"missing of what is always needed: {', '.join(missing)}; pip install singleshot"
    opencvs = [name for name in OPENCVS if _is_there(name)]
    if len(opencvs) > 1:
        yield (
            f"{' and '.join(opencvs)} overwrite each other's files; pip uninstall {' '.join(opencvs)}, then "
            "pip install opencv-python-headless"
        )
    if NVIDIA.exists() and engines["torch"].get("gpus") == []:
        yield "there is an NVIDIA driver, but torch does not use it: install a torch that was built for CUDA"
    if detection.get("compiled") is False:
        yield "without its compiled part detection takes some 12 ms longer: install again with a C compiler at hand"
