"""`python -m singleshot.commands.engine_probe NAME`: whether one engine loads, or detection works, as a line of JSON.

`ssd doctor` runs each in a process of its own: a library that was built for another processor ends its process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from singleshot.errors import SingleshotError

DETECTION = "detection"
"""The name of the probe that detects."""
SECONDS = 0.6
"""How long the speed is measured."""


def probe_engine(name: str) -> dict[str, Any]:
    """The version of a library that could be imported, and the GPUs that it uses, where it is torch."""
    module = importlib.import_module(name)
    answer: dict[str, Any] = {"version": str(getattr(module, "__version__", "")).partition("+")[0].partition("-")[0]}
    if name == "torch":
        cuda = module.cuda
        answer["gpus"] = (
            [cuda.get_device_name(index) for index in range(cuda.device_count())] if cuda.is_available() else []
        )
    return answer


def probe_detection() -> dict[str, Any]:
    """Detect with the default model in a photograph of the package, then measure how long an image takes.

    Returns:
        `model`, `engine` (such as `openvino int8`), `label` and `score` of the best detection, `compiled`: whether the
        compiled post-processing is there, `first`: seconds from the first import to the first detections,
        `milliseconds`: median of an image after that, `rate`: operations a second of a product of fp32 matrices.
    """
    started = time.perf_counter()
    from singleshot.photographs import CHELSEA
    from singleshot.runtime.backends import engine_inside
    from singleshot.runtime.detector import Detector

    detector = Detector.load(score=0.1)
    detections = detector(CHELSEA.path)
    first = time.perf_counter() - started
    assert detector.folder is not None
    folder = engine_inside(detector.folder) or detector.folder
    pixels = CHELSEA.pixels()
    best = int(detections.scores.argmax()) if len(detections) else None
    return {
        "model": detector.folder.path.name,
        "engine": "torch" if folder.export is None else f"{folder.export.engine} {folder.export.precision}",
        "label": None if best is None else detections.names[best],
        "score": None if best is None else float(detections.scores[best]),
        "compiled": importlib.util.find_spec("singleshot.ssd._detection_output") is not None,
        "first": first,
        "milliseconds": 1000 * _median_seconds(lambda: detector(pixels)),
        "rate": _matrix_rate(),
    }


def _median_seconds(work: Callable[[], object], *, seconds: float = SECONDS) -> float:
    """Median time of a call, of at least 3."""
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < ends:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _matrix_rate(*, side: int = 1024) -> float:
    """Operations (two a multiplication) a second of numpy's product of fp32 matrices, on all cores."""
    import numpy as np

    matrix = np.ones((side, side), np.float32)
    return float(2 * side**3 / _median_seconds(lambda: matrix @ matrix, seconds=0.1))


def main(name: str) -> None:
    """Print what a probe answers, or `error` in one line and `exit_code`."""
    try:
        answer = probe_detection() if name == DETECTION else probe_engine(name)
    except SingleshotError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:  # noqa: BLE001 (a broken library raises what it likes; the doctor tells it)
        answer = {"error": f"{type(error).__name__}: {error}".partition("\n")[0], "exit_code": 4}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
