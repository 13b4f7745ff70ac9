"""Detection in one picture of 375 x 500 held in memory, ours beside torchvision's, interleaved in one run.

python benchmarks/inference.py --threads 2 --rounds 30 --json inference.json

Every network has seeded weights and 21 classes; a bias on the background lets about 300 scores pass the threshold, as
in a busy photograph. Ratios are medians over the rounds of (torchvision's whole path) / (this one).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision

from singleshot.export.openvino_ir import halve_weights, serialised, to_openvino
from singleshot.models.ssd import SSD
from singleshot.photographs import CHELSEA
from singleshot.preprocess import to_network_input
from singleshot.runtime.detector import Detector
from singleshot.runtime.openvino_backend import OpenVINOBackend, engine_options, read_model
from singleshot.runtime.quiet_openvino import openvino, opset8
from singleshot.spec import variant

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[], object]

PASSING = 300
"""Scores above the threshold in the benchmark's picture."""
MOST_OTHER_LOAD = 0.3
"""Cores that other processes may use while we measure."""


@dataclass(frozen=True)
class Contestant:
    """One way to detect: the whole path, and two parts of it."""

    name: str
    family: str
    whole: Work
    network: Work
    post: Work


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--loaded", action="store_true", help="measure although the machine is busy")
    given = parser.parse_args()
    load = other_load()
    if load > MOST_OTHER_LOAD and not given.loaded:
        raise SystemExit(f"other processes use {load:.1f} cores, more than {MOST_OTHER_LOAD}; --loaded measures anyway")
    torch.set_num_threads(given.threads)
    picture = photograph()
    contestants = []
    for name, family in (("ssd300_vgg16", "SSD300"), ("ssdlite320_mobilenet_v3_large", "SSDLite320")):
        contestants.append(torchvision_peer(name, family, picture))
    for name, family in (("ssd300-vgg16", "SSD300"), ("ssdlite320-mobilenetv2", "SSDLite320")):
        contestants += [ours(name, family, precision, picture, given.threads) for precision in ("fp32", "bf16")]
    rows = measured(contestants, given.rounds)
    print(table(rows))
    if given.json is not None:
        about = {"torch": torch.__version__, "torchvision": torchvision.__version__, "openvino": openvino.__version__}
        machine = {"processor": processor(), "threads": given.threads, "rounds": given.rounds, "other_load": load}
        given.json.write_text(json.dumps({**about, **machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def photograph() -> np.ndarray:
    """The middle of the cat, 375 x 500."""
    pixels = CHELSEA.pixels()
    height, width = pixels.shape[:2]
    top, left = (height - 300) // 2, (width - 400) // 2
    piece = np.ascontiguousarray(pixels[top : top + 300, left : left + 400])
    return np.ascontiguousarray(np.kron(piece, np.ones((2, 2, 1), np.uint8))[:375, :500])


def other_load(seconds: float = 2.0) -> float:
    """Cores that are busy while we sleep (Linux; 0 elsewhere)."""
    if not Path("/proc/stat").exists():
        return 0.0
    before = _busy()
    time.sleep(seconds)
    return (_busy() - before) / seconds


def _busy() -> float:
    user, nice, system, *_ = (int(field) for field in Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system) / 100


def processor() -> str:
    """Its name and the flags that decide about bf16 and int8 rates."""
    if not Path("/proc/cpuinfo").exists():
        return platform.processor()
    text = Path("/proc/cpuinfo").read_text()
    name = text.partition("model name")[2].partition(":")[2].partition("\n")[0].strip()
    flags = sorted(
        f for f in set(text.partition("flags")[2].partition("\n")[0].split()) if f.startswith(("amx", "avx"))
    )
    return f"{name} ({', '.join(flags)})"


def background_bias(scores: Callable[[float], np.ndarray], threshold: float) -> float:
    """The bias on the background's logit with which about `PASSING` foreground scores are above the threshold."""
    low, high = -50.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        if (scores(middle) > threshold).sum() > PASSING:
            low = middle
        else:
            high = middle
    return high


def softmax_with_bias(logits: torch.Tensor) -> Callable[[float], np.ndarray]:
    """Foreground probabilities of (K, C) logits for a bias on class 0."""

    def scores(bias: float) -> np.ndarray:
        shifted = logits.clone()
        shifted[:, 0] += bias
        return shifted.softmax(dim=1)[:, 1:].numpy()

    return scores


@torch.inference_mode()
def torchvision_peer(name: str, family: str, picture: np.ndarray) -> Contestant:
    """Torchvision's model as published: eager, float32, with its own transform and post-processing."""
    torch.manual_seed(0)
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=21).eval()

    def prepared() -> tuple[torch.Tensor, list[tuple[int, int]]]:
        images, _ = model.transform([torch.from_numpy(picture).permute(2, 0, 1).float() / 255])
        return images, images.image_sizes

    def network(images: object) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        features = list(model.backbone(images.tensors).values())  # type: ignore[attr-defined]
        return features, model.head(features)

    images, sizes = prepared()
    features, outputs = network(images)
    bias = background_bias(softmax_with_bias(outputs["cls_logits"][0]), model.score_thresh)
    for module in model.head.classification_head.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None and module.out_channels % 21 == 0:
            module.bias.data[::21] += bias
    features, outputs = network(images)
    anchors = model.anchor_generator(images, features)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)

    def inferring(work: Callable[[], object]) -> Work:
        return torch.inference_mode()(work)

    return Contestant(
        f"torchvision {name}, eager fp32",
        family,
        inferring(lambda: model([tensor.float() / 255])),
        inferring(lambda: network(images)),
        inferring(lambda: model.postprocess_detections(outputs, anchors, sizes)),
    )


@torch.inference_mode()
def ours(name: str, family: str, precision: str, picture: np.ndarray, threads: int) -> Contestant:
    """Our network on OpenVINO, everything but the resize in the graph."""
    network = SSD(variant(name), seed=0).eval()
    spec = network.spec
    inputs = torch.from_numpy(to_network_input(picture, spec.input_size_hw, spec.preprocess))[None]
    bias = background_bias(softmax_with_bias(network(inputs).logits[0]), spec.postprocess.score_threshold)
    for module in network.heads.confidence.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            module.bias[:: spec.num_classes] += bias
    graph = to_openvino(network)
    halve_weights(graph, only_exact=precision == "fp32")
    model = read_model(serialised(graph), origin=name)
    detector = Detector(OpenVINOBackend(spec, model, precision=precision, threads=threads), name=name)
    raw, post = parts(model, precision, threads)
    resized = np.zeros((1, *spec.input_size_hw, 3), np.uint8)
    predictions = network(inputs)
    pair = [predictions.offsets.numpy(), predictions.logits.numpy()]
    return Contestant(
        f"ours {name}, {precision}", family, lambda: detector(picture), lambda: raw([resized]), lambda: post(pair)
    )


def parts(model: openvino.Model, precision: str, threads: int) -> tuple[openvino.CompiledModel, openvino.CompiledModel]:
    """The graph up to its raw predictions, and the rest of it, for one picture."""
    core, options = openvino.Core(), engine_options(precision, threads)
    whole = model.clone()
    whole.reshape([1, *[whole.inputs[0].partial_shape[i].get_length() for i in (1, 2)], 3])
    (node,) = (op for op in whole.get_ops() if op.get_type_name() == "DetectionOutput")
    offsets = node.input_value(0).get_node().input_value(0)
    logits = node.input_value(1).get_node().input_value(0).get_node().input_value(0)
    raw = core.compile_model(openvino.Model([offsets, logits], whole.get_parameters(), "raw"), "CPU", options)
    given = [opset8.parameter(value.shape, openvino.Type.f32) for value in (offsets, logits)]
    flat = np.array([0, -1], np.int64)
    inputs = [
        opset8.reshape(given[0], flat, special_zero=True),
        opset8.reshape(opset8.softmax(given[1], 2), flat, special_zero=True),
    ]
    attributes = {
        name: value for name, value in node.get_attributes().items() if name not in {"input_height", "input_width"}
    }
    rest = opset8.detection_output(*inputs, node.input_value(2).get_node(), attributes)
    return raw, core.compile_model(openvino.Model([opset8.result(rest)], given, "post"), "CPU", options)


def measured(contestants: list[Contestant], rounds: int) -> list[dict[str, object]]:
    """A row a contestant; every round times each whole path and part once, in turned order."""
    works = [(c, part, getattr(c, part)) for c in contestants for part in ("whole", "network", "post")]
    times: dict[tuple[str, str], list[float]] = {(c.name, part): [] for c, part, _ in works}
    for _, _, work in works:
        for _ in range(3):
            work()
    for turn in range(rounds):
        shift = turn * 7 % len(works)
        for contestant, part, work in works[shift:] + works[:shift]:
            started = time.perf_counter()
            work()
            times[contestant.name, part].append(time.perf_counter() - started)
    peers = {c.family: c.name for c in reversed(contestants) if c.name.startswith("torchvision")}
    rows = []
    for c in contestants:
        whole, network, post = (times[c.name, part] for part in ("whole", "network", "post"))
        peer_whole, peer_post = times[peers[c.family], "whole"], times[peers[c.family], "post"]
        rows.append(
            {
                "name": c.name,
                "whole_ms": 1e3 * statistics.median(whole),
                "p95_ms": 1e3 * float(np.quantile(whole, 0.95)),
                "network_ms": 1e3 * statistics.median(network),
                "post_ms": 1e3 * statistics.median(post),
                "outside_network": 1 - statistics.median(network) / statistics.median(whole),
                "ratio": statistics.median(a / b for a, b in zip(peer_whole, whole, strict=True)),
                "post_ratio": statistics.median(a / b for a, b in zip(peer_post, post, strict=True)),
            }
        )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| | whole, ms | p95 | network | post | outside the network | ratio | post ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        "| {name} | {whole_ms:.2f} | {p95_ms:.2f} | {network_ms:.2f} | {post_ms:.3f} | {outside_network:.0%} | "
        "{ratio:.2f} | {post_ratio:.1f} |".format(**row)
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
