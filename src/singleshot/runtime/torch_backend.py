"""Detection with torch: the network as it was trained, on any device torch knows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.runtime.engine import with_threshold
from singleshot.shapes import Float, UInt8
from singleshot.ssd.detection import RawDetections
from singleshot.ssd.detection_torch import postprocess_batch
from singleshot.ssd.tensors import Predictions

PRECISIONS = ("fp32", "bf16")


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is a GPU, else the CPU; any other name is torch's.

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
    """Runs a network on batches of decoded images, channels last; NMS of an accelerator's results stays on it.

    Args:
        network: moved to the device.
        device: where.
        precision: `fp32`, or `bf16`: convolutions in bf16, decoding and NMS in fp32.
        compiled: let torch.compile make one graph of the network, on CUDA one that is replayed without the processor
            (CUDA graphs): a minute at the first call of each batch size, then faster. Batches are filled up to a power
            of two.

    In a process forked after it was made, it runs on one thread: torch's others stay behind in the parent, and the
    network would wait for them for ever.

    Raises:
        RequestError: no such precision.
    """

    def __init__(self, network: SSD, device: torch.device, *, precision: str = "fp32", compiled: bool = False) -> None:
        if precision not in PRECISIONS:
            raise UnknownNameError("precision", precision, PRECISIONS)
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()
        self.spec = network.spec
        self.device = device
        self._process = os.getpid()
        self._half = precision == "bf16"
        self._compiled = compiled
        self._forward: Callable[[Tensor], Predictions] = self.network
        if compiled:
            self._forward = torch.compile(self.network, mode="reduce-overhead", dynamic=False)

    def workers(self) -> tuple[()]:
        """None: torch is fastest in batches."""
        return ()

    @torch.inference_mode()
    def __call__(
        self, images: Sequence[UInt8[np.ndarray, "H W 3"]], *, score_threshold: float | None = None
    ) -> list[RawDetections]:
        """Detections of each image, see `Backend`."""
        count = len(images)
        inputs = [to_network_input(image, self.spec.input_size_hw, self.spec.preprocess) for image in images]
        if self._compiled:  # compiled once for each size: fill up to the next power of two with the last image
            inputs += inputs[-1:] * ((1 << (count - 1).bit_length()) - count)
        predictions = self.predict(torch.from_numpy(np.stack(inputs)))
        return postprocess_batch(
            Predictions(predictions.offsets[:count], predictions.logits[:count]),
            self.network.default_boxes,
            self.spec.boxes.variances,
            with_threshold(self.spec.postprocess, score_threshold),
        )

    @torch.inference_mode()
    def predict(self, inputs: Float[Tensor, "B 3 H W"]) -> Predictions:
        """The network's raw output, on the device; a compiled network overwrites it at the next call.

        Raises:
            RequestError: on a GPU, in a process that was forked after the network was moved there.
        """
        if os.getpid() != self._process:
            self._settle_after_fork()
        inputs = inputs.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            return self._forward(inputs)

    def _settle_after_fork(self) -> None:
        if self.device.type != "cpu":
            raise RequestError(
                f"a model on {self.device} was loaded before this process was forked: load it in the process that "
                "detects (gunicorn without --preload, multiprocessing with spawn)"
            )
        torch.set_num_threads(1)
        self._process = os.getpid()
        warnings.warn(
            "the model was loaded in torch before this process was forked, so it runs on one thread: load it after "
            "the fork (gunicorn without --preload), or `ssd export` it: engines may be forked",
            stacklevel=2,
        )
