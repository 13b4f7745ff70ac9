"""The engine for a model: that of an export, of an export inside the model folder, else torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from singleshot.errors import ModelError, RequestError
from singleshot.runtime.engine import Backend
from singleshot.runtime.onnx_backend import OnnxBackend
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.spec import ModelSpec
from singleshot.weights.folder import SUMS, ModelFolder, read_folder

OwnBackbone: TypeAlias = str | Callable[[], Any]
"""A function that makes a backbone, or `mypackage.module:function`, see `models.own_backbone`."""
ENGINES = ("openvino", "onnx")
"""Formats of `ssd export` that a `Detector` runs, the fastest first."""
ENGINE_FILES = {"openvino": ("model.xml", "model.bin"), "onnx": ("model.onnx",)}
FASTEST_FIRST = ("int8", "bf16", "fp32")


def load_backend(
    folder: ModelFolder,
    device: str = "auto",
    *,
    precision: str | None = None,
    compiled: bool = False,
    backbone: OwnBackbone | None = None,
) -> Backend:
    """An exported model on its engine; a model folder on the engine inside it, else on torch.

    Engines run on the CPU: any other device, a precision or `compiled` means torch.

    Args:
        folder: of a model or an export.
        device: `auto`, `cpu`, or a name of torch's.
        precision: of `torch_backend.PRECISIONS`; None: an export's own, else fp32.
        compiled: see `TorchBackend`.
        backbone: the code of a model whose backbone is the user's own.

    Raises:
        RequestError: an exported model cannot run on that device or in another precision, or what it needs is not
            installed.
        ModelError, HashError: the folder is not whole; the message says why.
    """
    if folder.export is not None:
        if device not in {"auto", "cpu"}:
            raise RequestError(f"{folder.path} is exported for the processor; give the model it came from for {device}")
        if precision is not None or compiled:
            raise RequestError(
                f"{folder.path} is exported, its precision is settled; give the model it came from, or export it anew: "
                "ssd export --precision"
            )
        return load_engine(folder)
    engine = None if asks_for_torch(device, precision, compiled=compiled) else engine_inside(folder)
    if engine is not None:
        return load_engine(engine)
    try:
        from singleshot.models.own_backbone import factory_of
        from singleshot.runtime.torch_backend import TorchBackend, choose_device
        from singleshot.weights.build import load_network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise RequestError(
            f"{folder.path} needs torch, which is not installed: pip install 'singleshot[train]'"
        ) from error
    network = load_network(folder, backbone=factory_of(backbone))
    return TorchBackend(network, choose_device(device), precision=precision or "fp32", compiled=compiled)


def asks_for_torch(device: str, precision: str | None, *, compiled: bool) -> bool:
    """Whether only torch can do what was asked for."""
    return device not in {"auto", "cpu"} or precision is not None or compiled


def load_engine(source: Path | ModelFolder, *, threads: int | None = None) -> OpenVINOBackend | OnnxBackend:
    """An exported model's folder on its engine.

    Raises:
        RequestError, ModelError, HashError: as `load_backend`.
    """
    folder = read_folder(source)
    files, export = folder.engine_files(), folder.export
    assert export is not None
    return start_engine(
        export.engine, folder.spec, files, precision=export.precision, origin=str(folder.path), threads=threads
    )


def engine_inside(folder: ModelFolder) -> ModelFolder | None:
    """The fastest export inside a model folder that was made from the folder's present weights."""
    exports: dict[tuple[int, int], ModelFolder] = {}
    for sums in sorted(folder.path.glob(f"*/{SUMS}")):
        inside = read_folder(sums.parent)
        export = inside.export
        if export is not None and export.engine in ENGINES and export.source == folder.weights_hash:
            exports.setdefault((ENGINES.index(export.engine), FASTEST_FIRST.index(export.precision)), inside)
    return exports[min(exports)] if exports else None


def start_engine(
    engine: str,
    spec: ModelSpec,
    files: Mapping[str, bytes],
    *,
    precision: str,
    origin: str,
    threads: int | None = None,
) -> OpenVINOBackend | OnnxBackend:
    """The engine on an exported model's files.

    Raises:
        ModelError: files for an engine that does not run here; RequestError, ModelError: as `load_backend`.
    """
    expected = ENGINE_FILES.get(engine)
    if expected is not None and tuple(files) != expected:
        raise ModelError(f"{origin} lists the files {', '.join(files) or 'none'}, expected {', '.join(expected)}")
    if engine == "openvino":
        from singleshot.runtime.openvino_backend import OpenVINOBackend

        return OpenVINOBackend(spec, files, precision=precision, origin=origin, threads=threads)
    if engine == "onnx":
        from singleshot.runtime.onnx_backend import OnnxBackend

        return OnnxBackend(spec, next(iter(files.values())), origin=origin, threads=threads)
    raise ModelError(f"{origin} is exported as {engine}, which is not run here; these are: {', '.join(ENGINES)}")
