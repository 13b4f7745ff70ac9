"""The engine for a model: that of an export, of an export inside the model folder, else torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from singleshot.errors import ModelError, RequestError
from singleshot.runtime.engine import Backend
from singleshot.spec import ModelSpec
from singleshot.weights.folder import SUMS, ModelFolder, read_folder

if TYPE_CHECKING:  # each is loaded when it is first used: a server has its engine in another process
    from singleshot.runtime.onnx_backend import OnnxBackend
    from singleshot.runtime.openvino_backend import OpenVINOBackend

OwnBackbone: TypeAlias = str | Callable[[], Any]
"""A function that makes a backbone, or `mypackage.module:function`, see `models.own_backbone`."""
ENGINES = ("openvino", "onnx")
"""Formats of `ssd export` that a `Detector` runs, the fastest first."""
ENGINE_FILES = {"openvino": ("model.xml", "model.bin"), "onnx": ("model.onnx",)}
FASTEST_FIRST = ("int8", "bf16", "fp32")


@dataclass(frozen=True)
class RunOptions:
    """How a model shall run.

    Attributes:
        device: `auto`, `cpu`, or a name of torch's.
        precision: of `torch_backend.PRECISIONS`; None: an export's own, else fp32.
        compiled: see `TorchBackend`.
        backbone: the code of a model whose backbone is the user's own.
    """

    device: str = "auto"
    precision: str | None = None
    compiled: bool = False
    backbone: OwnBackbone | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU will do."""
        return self.device in {"auto", "cpu"}

    @property
    def need_torch(self) -> bool:
        """Whether only torch can do this: engines run on the CPU, in the precision they were exported in."""
        return not self.on_cpu or self.precision is not None or self.compiled


def load_backend(folder: ModelFolder, options: RunOptions = RunOptions()) -> Backend:
    """An exported model on its engine; a model folder on the engine inside it, else on torch.

    Raises:
        RequestError: an exported model cannot run like this, or what it needs is not installed.
        ModelError, HashError: the folder is not whole; the message says why.
    """
    return run_folder(folder_to_run(folder, options), options)


def folder_to_run(folder: ModelFolder, options: RunOptions) -> ModelFolder:
    """Which folder is run for a model: itself, or the fastest export inside it where that may be.

    Raises:
        RequestError: an exported model cannot run like this; ModelError, HashError: an export inside is not whole.
    """
    if folder.export is None:
        return (None if options.need_torch else engine_inside(folder)) or folder
    if not options.on_cpu:
        raise RequestError(
            f"{folder.path} is exported for the processor; give the model it came from for {options.device}"
        )
    if options.need_torch:
        raise RequestError(
            f"{folder.path} is exported, its precision is settled; give the model it came from, or export it anew: "
            "ssd export --precision"
        )
    return folder


def run_folder(folder: ModelFolder, options: RunOptions) -> Backend:
    """An exported model on its engine, another one on torch, whatever lies inside it. Raises as `load_backend`."""
    if folder.export is not None:
        return load_engine(folder)
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
    network = load_network(folder, backbone=factory_of(options.backbone))
    device, precision = choose_device(options.device), options.precision or "fp32"
    return TorchBackend(network, device, precision=precision, compiled=options.compiled)


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
