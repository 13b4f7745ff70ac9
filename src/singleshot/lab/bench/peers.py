"""What others publish, as cases: their networks with random weights, on our image.

Torchvision's code runs as published (eager, fp32) and at its best settings; the same networks run in plain ONNX
Runtime, OpenCV and OpenVINO with torchvision's own post-processing behind them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from singleshot.errors import UnknownNameError
from singleshot.export.onnx_graph import quiet_exporter
from singleshot.lab.bench.scenes import image, resemble_trained
from singleshot.lab.bench.timing import Case, Work

Heads = Callable[[Tensor], dict[str, Tensor]]


CLASSES = 21
FAMILIES = {"ssd300_vgg16": "ssd300-vgg16", "ssdlite320_mobilenet_v3_large": "ssdlite320-mobilenetv2"}
"""Torchvision's detectors and the model of ours that each is compared with."""


def eager(name: str, *, threads: int) -> Iterator[Case]:
    """Torchvision's detector as published."""
    torch.set_num_threads(threads)
    yield _Peer(name).case(f"torchvision {name}, eager fp32")


def best_settings(name: str, *, threads: int) -> Iterator[Case]:
    """Torchvision's detector channels-last, in bf16, and compiled."""
    torch.set_num_threads(threads)
    peer = _Peer(name)
    peer.model.to(memory_format=torch.channels_last)
    yield peer.case(f"torchvision {name}, channels-last")
    yield peer.case(f"torchvision {name}, channels-last bf16", dtype=torch.bfloat16)
    compiled = _Peer(name)
    heads = torch.compile(compiled.heads, dynamic=False)
    with contextlib.suppress(torch._dynamo.exc.TorchDynamoException, RuntimeError):  # noqa: SLF001 (no compiler: no row)
        with torch.inference_mode():
            heads(compiled.input)
        yield compiled.case(f"torchvision {name}, compiled", heads=heads)


def onnxruntime(name: str, *, threads: int) -> Iterator[Case]:
    """Its network in plain ONNX Runtime, where that is installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    peer = _Peer(name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(peer.as_onnx(), options, providers=["CPUExecutionProvider"])

    def heads(tensors: Tensor) -> dict[str, Tensor]:
        results = session.run(None, {session.get_inputs()[0].name: tensors.numpy()})
        return _as_heads(results)

    yield peer.case(f"ONNX Runtime, torchvision {name}", heads=heads)


def opencv(name: str, *, threads: int) -> Iterator[Case]:
    """Its network in OpenCV's DNN module, where that can load it."""
    import cv2

    cv2.setNumThreads(threads)
    peer = _Peer(name)
    try:
        network = cv2.dnn.readNetFromONNX(np.frombuffer(peer.as_onnx(), np.uint8))
        names = network.getUnconnectedOutLayersNames()

        def heads(tensors: Tensor) -> dict[str, Tensor]:
            network.setInput(tensors.numpy())
            results = sorted(network.forward(names), key=lambda array: array.shape[-1])
            return _as_heads(results)

        heads(peer.input)
    except cv2.error:
        return
    yield peer.case(f"OpenCV DNN, torchvision {name}", heads=heads)


def openvino(name: str, *, threads: int) -> Iterator[Case]:
    """Its network converted by OpenVINO and called as its manual says: what ours has to be faster than."""
    from singleshot.runtime.openvino_core import core
    from singleshot.runtime.openvino_core import openvino as library

    peer = _Peer(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peer.onnx"
        path.write_bytes(peer.as_onnx())
        model = core().read_model(path)
    for hint in ("f32", "bf16"):
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core().compile_model(model, "CPU", options)

        def heads(tensors: Tensor, compiled: library.CompiledModel = compiled) -> dict[str, Tensor]:
            return _as_heads(compiled(tensors.numpy()).values())

        yield peer.case(f"OpenVINO {hint}, torchvision {name}", heads=heads)


def fasterrcnn(*, threads: int) -> Iterator[Case]:
    """The paper's other yardstick, as torchvision publishes it (800 pixels, proposals depend on the weights)."""
    torch.set_num_threads(threads)
    with quiet_exporter():
        torch.manual_seed(0)
        model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=CLASSES
        ).eval()
    tensor = _as_tensor(image())
    whole = torch.inference_mode()(lambda: model([tensor / 255]))
    yield Case("torchvision fasterrcnn_resnet50_fpn, eager fp32", "fasterrcnn", {"whole": whole}, None, "~1066 x 800")


def ultralytics(*, threads: int) -> Iterator[Case]:
    """YOLO11n at 320, where the user has installed it; its weights are random, from its own configuration."""
    if importlib.util.find_spec("ultralytics") is None:
        return
    torch.set_num_threads(threads)
    ultralytics = importlib.import_module("ultralytics")

    model = ultralytics.YOLO("yolo11n.yaml", task="detect")
    scene = np.ascontiguousarray(image()[..., ::-1])
    yield Case("ultralytics yolo11n at 320", "yolo", {"whole": lambda: model.predict(scene, imgsz=320, verbose=False)})


AGAINST: dict[str, Callable[..., Iterator[Case]]] = {
    "torchvision": eager,
    "torchvision-best": best_settings,
    "onnxruntime": onnxruntime,
    "opencv": opencv,
    "openvino": openvino,
    "fasterrcnn": fasterrcnn,
    "ultralytics": ultralytics,
}


def peers(names: Sequence[str], families: Sequence[str], *, threads: int) -> Iterator[Case]:
    """The peers of these names that compare with these families of ours; those not installed are left out.

    Raises:
        UnknownNameError: no such peer.
    """
    require_known(names)
    for name in names:
        if name in {"fasterrcnn", "ultralytics"}:
            yield from AGAINST[name](threads=threads)
            continue
        for peer, family in FAMILIES.items():
            if family in families:
                yield from AGAINST[name](peer, threads=threads)


def require_known(names: Sequence[str]) -> None:
    """Raises UnknownNameError for what is no peer."""
    for name in names:
        if name not in AGAINST:
            raise UnknownNameError("peer", name, AGAINST)


class _Peer:
    """A detector of torchvision's with random weights that is as sure of background as a trained one."""

    def __init__(self, name: str) -> None:
        self.name = name
        torch.manual_seed(0)
        self.model: Any = getattr(torchvision.models.detection, name)(
            weights=None, weights_backbone=None, num_classes=CLASSES
        ).eval()
        self.scene = image()
        with torch.inference_mode():
            images, _ = self.model.transform([_as_tensor(self.scene) / 255])
            self.input, self.sizes = images.tensors.clone(), images.image_sizes
            self.images = images
            logits = self.heads(self.input)["cls_logits"][0].clone()
            self.crowded = self.heads(self.input)
        convolutions = [
            layer for layer in self.model.head.classification_head.modules() if isinstance(layer, nn.Conv2d)
        ]
        resemble_trained(
            (layer for layer in convolutions if layer.bias is not None and layer.out_channels % CLASSES == 0),
            logits, CLASSES, self.model.score_thresh,
        )  # fmt: skip

    def heads(self, tensors: Tensor) -> dict[str, Tensor]:
        """The network: a normalised image -> encoded boxes and logits."""
        return self.model.head(list(self.model.backbone(tensors).values()))  # type: ignore[no-any-return]

    def as_onnx(self) -> bytes:
        """The network alone."""

        class Network(nn.Module):
            def __init__(self, peer: _Peer) -> None:
                super().__init__()
                self.model = peer.model

            def forward(self, tensors: Tensor) -> tuple[Tensor, Tensor]:
                predicted = self.model.head(list(self.model.backbone(tensors).values()))
                return predicted["bbox_regression"], predicted["cls_logits"]

        with quiet_exporter():
            program = torch.onnx.export(
                Network(self).eval(), (self.input,), dynamo=True, verbose=False, opset_version=18
            )
        assert program is not None
        return program.model_proto.SerializeToString()  # type: ignore[no-any-return]

    def case(self, name: str, *, heads: Heads | None = None, dtype: torch.dtype | None = None) -> Case:
        """The whole path, and its parts, with these heads in place of the eager ones."""
        run = heads or self.heads
        with torch.inference_mode():
            features = list(self.model.backbone(self.input).values())
            anchors = self.model.anchor_generator(self.images, features)
            outputs = run(self.input)

        @torch.inference_mode()
        def network(tensors: Tensor) -> dict[str, Tensor]:
            if dtype is None:
                return run(tensors)
            with torch.autocast("cpu", dtype=dtype):
                predicted = run(tensors)
            return {key: value.float() for key, value in predicted.items()}

        @torch.inference_mode()
        def post(predicted: dict[str, Tensor]) -> object:
            return self.model.postprocess_detections(predicted, anchors, self.sizes)

        works: dict[str, Work] = {
            "whole": lambda: self._detect(network, anchors),
            "network": lambda: network(self.input),
            "post": lambda: post(outputs),
        }
        as_published = name.endswith("eager fp32")
        if as_published:
            tensor = _as_tensor(self.scene)
            works["whole"] = torch.inference_mode()(lambda: self.model([_as_tensor(self.scene) / 255]))
            works["post_worst"] = lambda: post(self.crowded)
            works["batch8"] = torch.inference_mode()(lambda: self.model([tensor / 255] * 8))
        height, width = self.input.shape[2:]
        count = int(anchors[0].shape[0])
        return Case(name, FAMILIES[self.name], works, count, f"{width} x {height}", reference=as_published)

    @torch.inference_mode()
    def _detect(self, network: Heads, anchors: list[Tensor]) -> object:
        """Torchvision's whole path from a decoded image to final boxes around these heads."""
        images, _ = self.model.transform([_as_tensor(self.scene) / 255])
        found = self.model.postprocess_detections(network(images.tensors), anchors, images.image_sizes)
        return self.model.transform.postprocess(found, images.image_sizes, [self.scene.shape[:2]])


def _as_heads(arrays: Iterable[np.ndarray]) -> dict[str, Tensor]:
    """A runtime's encoded boxes and logits, as torchvision's post-processing takes them."""
    return dict(zip(("bbox_regression", "cls_logits"), map(torch.from_numpy, arrays), strict=True))


def _as_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float()
