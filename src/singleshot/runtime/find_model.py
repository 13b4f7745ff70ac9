"""Which model folder a path or a name means; the models that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from singleshot.errors import RequestError, offer
from singleshot.files import not_there
from singleshot.variants import VARIANTS
from singleshot.weights.folder import CONFIG, ModelFolder, read_folder


def shipped_models() -> dict[str, Path]:
    """Name -> folder of every model in the package; the first is the default of `ssd detect`."""
    root = Path(str(resources.files("singleshot"))) / "shipped"
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}


FOREIGN_SUFFIXES = frozenset(
    {".pt", ".pth", ".caffemodel", ".prototxt", ".onnx", ".tflite", ".pb", ".npz", ".safetensors", ".h5", ".keras"}
)
"""Of files that hold weights of other programs."""


def refuse_weight_file(path: Path) -> None:
    """Refuse a file of weights where a model is expected.

    Raises:
        RequestError: the file has the suffix of such a file; the message names the verb that makes a model of it.
    """
    if path.suffix.lower() in FOREIGN_SUFFIXES:
        raise RequestError(
            f"{path} is a file of weights, not a model folder: if they are an SSD's, ssd weights import {path} --out "
            f"{path.stem} makes a folder of them, and --model {path.stem} takes it"
        )


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
    if path.suffix.lower() in FOREIGN_SUFFIXES:
        raise RequestError(
            f"there is no file {not_there(model)}; a model is a folder, which ssd weights import makes of such a file"
        )
    if path.parent != Path():
        raise RequestError(f"there is no model folder {not_there(model)}")
    names = [*shipped, *VARIANTS]
    raise RequestError(f"there is no folder {model}, and no model of that name; {offer(str(model), names)}")


def _folder_of_engine_file(path: Path) -> ModelFolder:
    """The export that an engine's file, such as `model.xml`, is the main file of."""
    if path.suffix in {".xml", ".onnx"} and path.is_file() and (path.parent / CONFIG).is_file():
        folder = read_folder(path.parent)
        if folder.export is not None and path.name == folder.export.files[0]:
            return folder
    refuse_weight_file(path)
    raise RequestError(
        f"{path} is no model by itself: give the whole folder of a model or of an export, in which config.json "
        "tells classes and thresholds"
    )
