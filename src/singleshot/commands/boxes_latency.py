"""How long a network takes on this machine, measured and not guessed: what exports run on, without post-processing."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import numpy as np

from singleshot.export.openvino_ir import serialised, to_openvino
from singleshot.models.ssd import SSD
from singleshot.runtime.engine import usable_cores
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.spec import ModelSpec

ROUNDS, TIMES = 8, 10
"""Medians of so many runs; the least of them counts, as other programs only ever add to a time."""


def network_milliseconds(spec: ModelSpec) -> float:
    """Time of one image of the input size in OpenVINO, fp32, on all cores that this process may use.

    Args:
        spec: weights are seeded, as time does not depend on them.
    """
    engine = OpenVINOBackend(spec, serialised(to_openvino(SSD(spec, seed=0))), precision="fp32", origin=spec.name)
    images = [np.zeros((*spec.input_size_hw, 3), np.uint8)]
    engine.predict(images)  # compiles

    def seconds() -> float:
        started = perf_counter()
        engine.predict(images)
        return perf_counter() - started

    return 1e3 * min(median(seconds() for _ in range(TIMES)) for _ in range(ROUNDS))


def conditions() -> str:
    """What `network_milliseconds` stands for, in words."""
    threads = usable_cores()
    plural = "s" * (threads > 1)
    return f"OpenVINO, fp32, {threads} thread{plural}, one image, without post-processing"
