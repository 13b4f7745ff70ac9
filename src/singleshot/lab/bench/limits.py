"""What bounds a network's speed: its operations, its stages apart, and how fast this machine convolves at best."""

from __future__ import annotations

import time
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import nn

from singleshot.export.quantizer import quantize_graph
from singleshot.models.ssd import SSD
from singleshot.runtime.openvino_backend import HINTS
from singleshot.runtime.openvino_core import core, openvino
from singleshot.spec import ModelSpec


def count_operations(spec: ModelSpec) -> int:
    """Multiplications and additions of one image, two a weight and position of a convolution.

    All else is below a hundredth of them.
    """
    model = SSD(spec).eval()
    operations = 0

    def note(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal operations
        assert isinstance(layer, nn.Conv2d)
        operations += 2 * layer.weight.numel() * output.shape[2] * output.shape[3]

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    with torch.no_grad():
        model(torch.zeros(model.backbone.SMALLEST_BATCH, 3, *spec.input_size_hw))
    return operations


STAGES = ("backbone", "extras", "heads")


def stage_milliseconds(spec: ModelSpec, *, threads: int, times: int = 20) -> dict[str, float]:
    """Medians of one image in torch, single precision, on the processor; what other engines fuse they cannot split.

    Args:
        spec: seeded weights serve.
        threads: cores to use.
        times: how often.
    """
    model = SSD(spec).eval()
    images = torch.zeros(1, 3, *spec.input_size_hw)
    spent: dict[str, list[float]] = {name: [] for name in STAGES}
    started = 0.0

    def start(*_: object) -> None:
        nonlocal started
        started = perf_counter()

    for name, durations in spent.items():
        stage = model.get_submodule(name)
        stage.register_forward_pre_hook(start)
        stage.register_forward_hook(lambda *_, durations=durations: durations.append(perf_counter() - started))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            for _ in range(times + 3):  # the first few find their memory
                model(images)
    finally:
        torch.set_num_threads(before)
    return {name: 1e3 * median(durations[3:]) for name, durations in spent.items()}


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
