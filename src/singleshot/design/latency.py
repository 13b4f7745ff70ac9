"""How long a network takes on this machine, measured and not guessed: what exports run on, without post-processing."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from singleshot.export.openvino_ir import serialised, to_openvino
from singleshot.models.ssd import SSD
from singleshot.runtime.cores import usable_cores
from singleshot.runtime.openvino_backend import OpenVINOBackend

if TYPE_CHECKING:
    from singleshot.spec import ModelSpec

TIMES, WARM_UP = 50, 5


def network_milliseconds(spec: ModelSpec) -> float:
    """Median time of one picture of the input size in OpenVINO, fp32, on all cores that this process may use.

    Args:
        spec: weights are seeded, as time does not depend on them.
    """
    engine = OpenVINOBackend(spec, serialised(to_openvino(SSD(spec, seed=0))), precision="fp32", origin=spec.name)
    pictures = [np.zeros((*spec.input_size_hw, 3), np.uint8)]
    spent = []
    for _ in range(WARM_UP + TIMES):
        started = perf_counter()
        engine.predict(pictures)
        spent.append(perf_counter() - started)
    return 1e3 * median(spent[WARM_UP:])


def conditions() -> str:
    """What `network_milliseconds` stands for, in words."""
    threads = usable_cores()
    plural = "s" * (threads > 1)
    return (
        f"OpenVINO, fp32, {threads} thread{plural}, median of one picture, without post-processing, as busy as the "
        "machine is"
    )
