"""Limits of the numbers in a specification: a file from elsewhere must not exhaust the memory."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from singleshot.errors import ModelError
from singleshot.spec import ModelSpec

Limit = tuple[str, list[float], float, float]
"""Description, values, lowest and highest value allowed."""

BACKGROUND = "background"  # never among the class names
MAX_NAME_LENGTH = 500  # characters of a class name
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's control characters, surrogates, line and paragraph separators


def require_bounds(spec: ModelSpec, origin: str) -> None:
    """Refuse a specification with sizes that would exhaust the memory, or with divisors of zero.

    Raises:
        ModelError: names the value and its limits.
    """
    counts = [
        count
        for boxes in spec.boxes.maps
        for count in (len(boxes.min_sizes), len(boxes.aspect_ratios), len(boxes.sizes_wh))
    ]
    _require(origin, [("sizes and ratios of a map", list(counts), 0, 100)])  # before anything is derived from them
    post = spec.postprocess
    channels = [size for block in spec.extras for size in (block.squeeze or 1, block.channels)]
    numbers = [size for boxes in spec.boxes.maps for pair in boxes.sizes_wh for size in pair]
    offsets = [spec.boxes.offset, *(boxes.offset for boxes in spec.boxes.maps if boxes.offset is not None)]
    steps = [size for block in spec.extras for size in (block.kernel, block.stride)]
    fusion, grid, shared = spec.fusion, spec.grid_head, spec.shared_head
    limits: list[Limit] = [
        ("channels of the fusion", [] if fusion is None else [fusion.channels], 1, 65536),
        ("cells of the grid head", [] if grid is None else [grid.cells], 1, 32),
        ("channels of the grid head", [] if grid is None else [grid.channels], 1, 65536),
        ("input_size_hw", list(spec.input_size_hw), 1, 8192),
        ("width", [spec.width], 1e-3, 16),
        ("head_kernel", [spec.head_kernel], 1, 31),
        ("channels of the extras", list(channels), 1, 65536),
        ("kernel and stride of the extras", list(steps), 1, 31),
        ("padding of the extras", [block.padding for block in spec.extras], 0, 31),
        ("boxes a cell", [boxes.boxes_per_cell for boxes in spec.boxes.maps], 1, 1000),
        ("the number of classes", [spec.num_classes], 2, 100_000),
        (
            "step of a map",
            [step for boxes in spec.boxes.maps for step in (boxes.step, boxes.step_h) if step is not None],
            1e-3,
            8192,
        ),
        ("offset", offsets, -1, 2),
        ("sizes_wh", numbers, 1e-3, 65536),
        ("channels of the shared head", [] if shared is None else [shared.channels], 1, 65536),
        ("depth of the shared head", [] if shared is None else [shared.depth], 1, 32),
        ("score_threshold (Caffe: -1 where it says nothing)", [post.score_threshold], -1, 1),
        ("nms_threshold", [post.nms_threshold], 0, 1),
        ("nms_eta", [post.nms_eta], 1e-6, 1),
        ("top_k and keep_top_k (-1 for all)", [post.top_k, post.keep_top_k], -1, 1e9),
        ("mean_rgb", list(spec.preprocess.mean_rgb), -1e6, 1e6),
        ("std_rgb", list(spec.preprocess.std_rgb), 1e-6, 1e6),
        ("variances", list(spec.boxes.variances), 1e-6, 1e6),
    ]
    _require(origin, limits)
    for name in spec.class_names:
        if (fault := fault_of_name(name)) is not None:
            raise ModelError(f"{origin} is not valid: {fault}")


def fault_of_name(name: str) -> str | None:
    """Why a class cannot have this name, in words; None if it can."""
    reason = None
    if not name.strip():
        reason = "it is empty"
    elif name == BACKGROUND:
        reason = "the background is no class: leave it out"
    elif len(name) > MAX_NAME_LENGTH:
        reason = f"it has {len(name):,} characters, {MAX_NAME_LENGTH} at most"
    elif any(unicodedata.category(letter) in UNPRINTABLE for letter in name):
        reason = "it holds a character that cannot be shown"
    return None if reason is None else f"no class can have the name {name[:40]!r}: {reason}"


def _require(origin: str, limits: Iterable[Limit]) -> None:
    for what, values, low, high in limits:
        for value in values:
            if not low <= value <= high:
                raise ModelError(f"{origin} is not valid: {what} must lie in {low:g} .. {high:g}, got {value:g}")
