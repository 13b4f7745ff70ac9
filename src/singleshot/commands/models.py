"""`ssd models`: what models there are, and the layers of one."""

from __future__ import annotations

from typing import Any

from singleshot.runtime.find_model import find_model, shipped_models
from singleshot.spec import ModelSpec
from singleshot.variants import VARIANTS
from singleshot.weights.folder import read_spec


def list_models() -> list[dict[str, Any]]:
    """One row a name, shipped models first; where an architecture has the same name, the row is the shipped model's."""
    shipped = {name: _row(name, read_spec(folder), "shipped") for name, folder in shipped_models().items()}
    others = {name: _row(name, spec, "none: train it") for name, spec in VARIANTS.items() if name not in shipped}
    return [*shipped.values(), *others.values()]


def list_layers(name: str) -> list[dict[str, Any]]:
    """The layer table of an architecture, a shipped model or a model folder (needs torch)."""
    from singleshot.models.describe import describe

    if name in VARIANTS:
        return describe(VARIANTS[name])
    folder = find_model(name)
    folder.require_layers()
    return describe(folder.spec)


def _row(name: str, spec: ModelSpec, weights: str) -> dict[str, Any]:
    height, width = spec.input_size_hw
    return {
        "name": name,
        "input": f"{width}x{height}",
        "backbone": spec.backbone,
        "maps": len(spec.sources),
        "classes": len(spec.class_names),
        "weights": weights,
    }
