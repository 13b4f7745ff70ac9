"""Detection with torch: the network as it was trained, on any device torch knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from singleshot.errors import RequestError
from singleshot.postprocess_torch import postprocess_batch
from singleshot.preprocess import to_network_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from singleshot.models.ssd import SSD
    from singleshot.postprocess import Found


def choose_device(name: str) -> torch.device:
    """`auto` is the accelerator where there is one; any other name is torch's.

    Raises:
        RequestError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()  # reads back: the meta device computes, but holds no values
    except (RuntimeError, AssertionError) as error:
        known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise RequestError(f"device {name!r} cannot be used here; known: auto, {', '.join(known)}") from error
    return device


class TorchBackend:
    """Runs a network on batches of decoded pictures."""

    def __init__(self, network: SSD, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.spec = network.spec
        self.device = device

    def lanes(self) -> tuple[()]:
        """None: torch is fastest in batches."""
        return ()

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[Found]:
        """Detections of each picture, boxes as fractions of it."""
        inputs = np.stack([to_network_input(p, self.spec.input_size_hw, self.spec.preprocess) for p in pictures])
        tensor = torch.from_numpy(inputs).to(self.device, memory_format=torch.channels_last)
        predictions = self.network(tensor)
        return postprocess_batch(
            predictions, self.network.default_boxes, self.spec.boxes.variances, self.spec.postprocess
        )
