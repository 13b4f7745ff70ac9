"""Limits of what a file may ask for: a file from elsewhere must not decide how much memory we take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from singleshot.errors import ModelError

if TYPE_CHECKING:
    from singleshot.spec import ModelSpec


def require_bounds(spec: ModelSpec, origin: str) -> None:
    """Refuse a specification whose sizes would only exhaust the memory, or that divides by zero.

    Raises:
        ModelError: names the value and its limits.
    """
    channels = [size for block in spec.extras for size in (block.squeeze, block.channels)]
    steps = [size for block in spec.extras for size in (block.kernel, block.stride)]
    limits: list[tuple[str, list[float], float, float]] = [
        ("input_size_hw", list(spec.input_size_hw), 1, 8192),
        ("width", [spec.width], 1e-3, 16),
        ("head_kernel", [spec.head_kernel], 1, 31),
        ("channels of the extras", list(channels), 1, 65536),
        ("kernel and stride of the extras", list(steps), 1, 31),
        ("padding of the extras", [block.padding for block in spec.extras], 0, 31),
        ("boxes a cell", [boxes.boxes_per_cell for boxes in spec.boxes.maps], 1, 1000),
        ("the number of classes", [spec.num_classes], 2, 100_000),
        ("std_rgb", list(spec.preprocess.std_rgb), 1e-6, 1e6),
        ("variances", list(spec.boxes.variances), 1e-6, 1e6),
    ]
    for what, values, low, high in limits:
        for value in values:
            if not low <= value <= high:
                raise ModelError(f"{origin} is not valid: {what} must lie in {low:g} .. {high:g}, got {value:g}")
