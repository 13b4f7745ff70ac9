"""Which model folder a path or a name means; the models that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from singleshot.errors import RequestError, offer
from singleshot.variants import VARIANTS
from singleshot.weights.folder import CONFIG, ModelFolder, read_folder


def shipped_models() -> dict[str, Path]:
    """Name -> folder of every model in the package; the first is the default of `ssd detect`."""
    root = Path(str(resources.files("singleshot"))) / "shipped"
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}


def find_model(model: str | Path | ModelFolder | None) -> ModelFolder:
    """The folder of a model given by path or shipped name, read; None is the default model.

    Raises:
        RequestError: an architecture without weights, no such folder, or no such name; the nearest is offered.
        ModelError, HashError: the folder is not whole; the message says why.
    """
    if isinstance(model, ModelFolder):
        return model
    shipped = shipped_models()
    if model is None:
        if not shipped:
            raise RequestError("no model is shipped with this installation; give one with --model FOLDER")
        return read_folder(next(iter(shipped.values())))
    path = Path(model)
    if path.is_dir():
        return read_folder(path)
    if path.exists():
        return _folder_of_engine_file(path)
    if str(model) in shipped:
        return read_folder(shipped[str(model)])
    if str(model) in VARIANTS:
        raise RequestError(
            f"{model} is an architecture without weights here; train it first: ssd train DATA --model {model}"
        )
    if path.parent != Path():
        raise RequestError(f"there is no model folder {model}")
    names = [*shipped, *VARIANTS]
    raise RequestError(f"there is no folder {model}, and no model of that name; {offer(str(model), names)}")


def _folder_of_engine_file(path: Path) -> ModelFolder:
    """The export that an engine's file, such as `model.xml`, is the main file of."""
    if path.suffix in {".xml", ".onnx"} and path.is_file() and (path.parent / CONFIG).is_file():
        folder = read_folder(path.parent)
        if folder.export is not None and path.name == folder.export.files[0]:
            return folder
    raise RequestError(
        f"{path} is no model by itself: give the whole folder of a model or of an export, in which config.json "
        "tells classes and thresholds"
    )
