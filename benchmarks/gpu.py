"""Our networks and torchvision's on an accelerator: network alone, and decoded images to boxes, batch 1, 8 and 32.

python benchmarks/gpu.py --json gpu.json          (make bench-gpu)
python benchmarks/gpu.py --device cpu --batches 1 --rounds 1 --no-compile     (tries the script itself)

All settings are those of `Detector.load`: fp32; bf16; bf16 compiled with CUDA graphs. First it checks that NMS on the
device finds what our numpy version finds in the same predictions.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from singleshot.lab.bench.peers import FAMILIES
from singleshot.lab.bench.scenes import image, resemble_trained
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.ssd.detection import postprocess
from singleshot.ssd.detection_torch import postprocess_on_device
from singleshot.variants import variant

Work = Callable[[], object]


def main() -> None:
    """Check, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; --device cpu tries the script")
    device = torch.device(given.device)
    torch.backends.cudnn.benchmark = True
    rows = []
    for peer, name in FAMILIES.items():
        network, images = prepared(name, device)
        check_nms(network, images[:1], device)
        for batch in given.batches:
            works = ours(network, images[:batch], device, compiled=not given.no_compile)
            works |= torchvision_works(peer, batch, device)
            for work, times in interleaved(works, given.rounds, device).items():
                milliseconds = 1e3 * statistics.median(times)
                rows.append({"model": name, "batch": batch, "work": work, "ms": milliseconds})
                print(f"{name:24} batch {batch:3} {work:44} {milliseconds:9.3f} ms {1e3 * batch / milliseconds:9.0f}/s")
    if given.json is not None:
        about = {"device": device_name(device), "torch": torch.__version__, "rounds": given.rounds}
        given.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def prepared(name: str, device: torch.device) -> tuple[SSD, torch.Tensor]:
    """A network that is as sure of background as a trained one, and 32 inputs."""
    network = SSD(variant(name), seed=0).eval()
    spec = network.spec
    image_tensor = torch.from_numpy(to_network_input(image(), spec.input_size_hw, spec.preprocess))
    with torch.inference_mode():
        logits = network(image_tensor[None]).logits[0].clone()
    heads = [
        layer
        for layer in network.heads.confidence.modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
    ]
    resemble_trained(heads, logits, spec.num_classes, spec.postprocess.score_threshold)
    return network.to(device), image_tensor[None].repeat(32, 1, 1, 1).to(device)


@torch.inference_mode()
def check_nms(network: SSD, images: torch.Tensor, device: torch.device) -> None:
    """NMS on the device against numpy's."""
    spec = network.spec
    predictions = network(images)
    scores = predictions.logits.softmax(dim=-1)
    boxes, variances, settings = network.default_boxes, spec.boxes.variances, spec.postprocess
    (there,) = postprocess_on_device(predictions.offsets, scores, boxes, variances, settings)
    offsets, probabilities = predictions.offsets[0].cpu().numpy(), scores[0].cpu().numpy()
    here = postprocess(offsets, probabilities, boxes.cpu().numpy(), variances, settings)
    np.testing.assert_allclose(np.sort(there.scores), np.sort(here.scores), atol=1e-6)
    np.testing.assert_array_equal(np.bincount(there.labels), np.bincount(here.labels))
    print(f"{spec.name}: NMS on {device} finds the {len(here)} boxes that numpy's finds")


def ours(network: SSD, inputs: torch.Tensor, device: torch.device, *, compiled: bool) -> dict[str, Work]:
    """The network alone, and from decoded images to boxes, at each setting of the product's own backend."""
    settings: dict[str, dict[str, Any]] = {"fp32": {}, "bf16": {"precision": "bf16"}}
    if compiled:
        settings["bf16, compiled with graphs"] = {"precision": "bf16", "compiled": True}
    works: dict[str, Work] = {}
    images = [image()] * len(inputs)
    for setting, options in settings.items():
        backend = TorchBackend(copy.deepcopy(network), device, **options)
        works[f"ours, {setting}: network"] = partial(backend.predict, inputs)
        works[f"ours, {setting}: whole"] = partial(backend, images)
    return works


def torchvision_works(name: str, batch: int, device: torch.device) -> dict[str, Work]:
    """Torchvision's detector as published."""
    torch.manual_seed(0)
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=21)
    model = model.eval().to(device)
    images = [torch.from_numpy(image()).permute(2, 0, 1).float().to(device) / 255] * batch
    return {"torchvision, eager fp32: whole, random scores": torch.inference_mode()(lambda: model(images))}


def interleaved(works: dict[str, Work], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each, one after another, round by round, after three warm calls."""

    def timed(work: Work) -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    for work in works.values():
        for _ in range(3):
            timed(work)
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(timed(work))
    return times


def device_name(device: torch.device) -> str:
    """The accelerator's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


if __name__ == "__main__":
    main()
