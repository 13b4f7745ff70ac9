"""How fast this machine convolves at best: the engine on one convolution that suits it, at each precision."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from singleshot.export.quantizer import quantize_graph
from singleshot.runtime.openvino_backend import HINTS
from singleshot.runtime.openvino_core import core, openvino

CHANNELS, SIDE, LAYERS = 256, 48, 6


def convolution_rate(precision: str, *, threads: int, times: int = 30) -> float:
    """Operations a second of 3x3 convolutions of 256 channels, the median over several runs."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()) for _ in range(LAYERS)]
    image = torch.rand(1, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        model = openvino.convert_model(torch.export.export(nn.Sequential(*layers).eval(), (image,)))
    if precision == "int8":
        model = quantize_graph(model, [image.numpy()], quietly=True)
    options = {
        "INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
    }  # fmt: skip
    request = core().compile_model(model, "CPU", options).create_infer_request()
    request.infer([image.numpy()])
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        request.infer()
        seconds.append(time.perf_counter() - started)
    return 2 * LAYERS * SIDE**2 * CHANNELS**2 * 9 / float(np.median(seconds))


def copy_rate(*, megabytes: int = 64, times: int = 9) -> float:
    """Bytes a second that one core moves from memory to memory, read and written."""
    source = np.ones(megabytes * 2**20, np.uint8)
    target = np.empty_like(source)
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - started)
    return 2 * source.nbytes / float(np.median(seconds))
