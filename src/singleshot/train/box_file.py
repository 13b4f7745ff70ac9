"""Default boxes from a file that `ssd boxes --json` wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from singleshot.errors import RequestError, SingleshotError
from singleshot.files import parse_json, read_regular
from singleshot.spec import ModelSpec
from singleshot.weights.bounds import require_bounds

LARGEST = 4 * 2**20  # bytes
TILINGS = ("designed", "given")


def with_boxes_of(path: Path, spec: ModelSpec) -> ModelSpec:
    """The spec with the source maps and default boxes of the file's design, or of what was given where it has none.

    Args:
        path: JSON whose `designed` (or `given`) holds a `spec`, as of `ssd boxes`.
        spec: the detector to train; but for maps, boxes and class names, the file's must be the same.

    Raises:
        RequestError: no such file, not of that kind, or made for another detector; both sides are named.
    """
    found = _read(path)
    expected = replace(
        spec,
        sources=found.sources,
        boxes=found.boxes,
        extras=spec.extras[: len(found.extras)],
        normalised=found.normalised,
        full_heads=found.full_heads,
    )
    if expected != replace(found, class_names=spec.class_names):
        raise RequestError(
            f"{path} has default boxes for {_said(found)}, and {_said(spec)} is to be trained: give ssd boxes the same "
            "--model and --input-size"
        )
    return expected


def _read(path: Path) -> ModelSpec:
    from pydantic import TypeAdapter, ValidationError

    try:
        content = parse_json(read_regular(path, LARGEST))
        tilings = [content[name] for name in TILINGS if name in content] if isinstance(content, dict) else []
        spec = tilings[0].get("spec") if tilings and isinstance(tilings[0], dict) else None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequestError(f"--boxes {path} cannot be read: {reason}") from error
    if spec is None:
        raise RequestError(f"{path} holds no default boxes: ssd boxes DATA --json {path.name} writes such a file")
    try:
        found = TypeAdapter(ModelSpec).validate_json(json.dumps(spec))
        require_bounds(found, str(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "spec"
        raise RequestError(f"{path} is not valid at {place}: {first['msg']}") from error
    except SingleshotError as error:  # boxes that contradict themselves
        raise RequestError(f"{path} is not valid: {error}") from error
    return found


def _said(spec: ModelSpec) -> str:
    height, width = spec.input_size_hw
    return f"{spec.name} of {width}x{height}"
