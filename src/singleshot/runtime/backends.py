"""Which engine runs a model: an exported model's own, one that lies inside a model folder, else torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from singleshot.errors import RequestError
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.weights.folder import SUMS, read_configuration, weights_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from singleshot.postprocess import Found
    from singleshot.spec import ModelSpec


class Lane(Protocol):
    """What one thread detects with, a picture at a time, while others use theirs."""

    def __call__(self, picture: np.ndarray) -> Found:
        """What the network finds in a picture."""


class Backend(Protocol):
    """An engine that runs one network: decoded RGB pictures in, boxes as fractions out."""

    spec: ModelSpec

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Found]:
        """What the network finds in each picture."""

    def lanes(self) -> Sequence[Lane]:
        """One lane a core for the engine's best throughput; none where batches are better."""


def load_backend(folder: Path, device: str = "auto") -> Backend:
    """An exported model on its engine, or a model folder on the engine inside it, else on torch.

    Engines run on the processor; a device of torch's (`cuda`) asks for torch.

    Raises:
        RequestError: an exported model cannot run on that device, or torch is needed and not installed.
        ModelError, HashError: the folder is not whole; the message says why.
    """
    on_cpu = device in {"auto", "cpu"}
    if read_configuration(folder).export is not None:
        if not on_cpu:
            raise RequestError(f"{folder} is exported for the processor; give the model it came from for {device}")
        return OpenVINOBackend.load(folder)
    engine = _inside(folder) if on_cpu else None
    if engine is not None:
        return OpenVINOBackend.load(engine)
    try:
        from singleshot.runtime.torch_backend import TorchBackend, choose_device
        from singleshot.weights.build import load_network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise RequestError(f"{folder} needs torch, which is not installed: pip install 'singleshot[train]'") from error
    return TorchBackend(load_network(folder), choose_device(device))


def _inside(folder: Path) -> Path | None:
    """An export that lies in a model folder and was made from its weights as they are now."""
    for sums in sorted(folder.glob(f"*/{SUMS}")):
        export = read_configuration(sums.parent).export
        if export is not None and export.source == weights_hash(folder):
            return sums.parent
    return None
