"""Which folder a model's path or name means; the models that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from singleshot.errors import RequestError, offer
from singleshot.variants import VARIANTS
from singleshot.weights.folder import CONFIG, read_configuration


def shipped_models() -> dict[str, Path]:
    """Name -> folder of every model in the package; the first is the default of `ssd detect`."""
    root = Path(str(resources.files("singleshot"))) / "shipped"
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}


def find_model(model: str | Path | None) -> Path:
    """The folder of a model given by path or shipped name; None is the default model.

    Raises:
        RequestError: an architecture without weights, no such folder, or no such name; the nearest is offered.
    """
    shipped = shipped_models()
    if model is None:
        if not shipped:
            raise RequestError("no model is shipped with this installation; give one with --model FOLDER")
        return next(iter(shipped.values()))
    path = Path(model)
    if path.is_dir():
        return path
    if path.suffix in {".xml", ".onnx"} and path.is_file() and _is_export(path):
        return path.parent
    if path.exists():
        raise RequestError(
            f"{model} is no model by itself: give the whole folder of a model or of an export, in which config.json "
            "tells classes and thresholds"
        )
    if str(model) in shipped:
        return shipped[str(model)]
    if str(model) in VARIANTS:
        raise RequestError(
            f"{model} is an architecture without weights here; train it first: ssd train DATA --model {model}"
        )
    if path.parent != Path():
        raise RequestError(f"there is no model folder {model}")
    names = [*shipped, *VARIANTS]
    raise RequestError(f"there is no folder {model}, and no model of that name; {offer(str(model), names)}")


def _is_export(path: Path) -> bool:
    """Whether an engine's file lies in a folder that was exported with it."""
    if not (path.parent / CONFIG).is_file():
        return False
    export = read_configuration(path.parent).export
    return export is not None and path.name == export.files[0]
