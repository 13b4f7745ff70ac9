"""The models that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def shipped_models() -> dict[str, Path]:
    """Name -> folder of every model in the package; the first is the default of `ssd detect`."""
    root = Path(str(resources.files("singleshot"))) / "shipped"
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}
