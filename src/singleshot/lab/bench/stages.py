"""Base, extra maps and heads of a network timed apart: the paper's "80% of the time is the base"."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import torch

from singleshot.models.ssd import SSD
from singleshot.spec import ModelSpec

STAGES = ("backbone", "extras", "heads")


def stage_milliseconds(spec: ModelSpec, *, threads: int, times: int = 20) -> dict[str, float]:
    """Medians of one image in torch, single precision, on the processor; what other engines fuse they cannot split.

    Args:
        spec: seeded weights serve.
        threads: cores to use.
        times: how often.
    """
    model = SSD(spec).eval()
    images = torch.zeros(1, 3, *spec.input_size_hw)
    spent: dict[str, list[float]] = {name: [] for name in STAGES}
    started = 0.0

    def start(*_: object) -> None:
        nonlocal started
        started = perf_counter()

    for name, durations in spent.items():
        stage = model.get_submodule(name)
        stage.register_forward_pre_hook(start)
        stage.register_forward_hook(lambda *_, durations=durations: durations.append(perf_counter() - started))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            for _ in range(times + 3):  # the first few find their memory
                model(images)
    finally:
        torch.set_num_threads(before)
    return {name: 1e3 * median(durations[3:]) for name, durations in spent.items()}
