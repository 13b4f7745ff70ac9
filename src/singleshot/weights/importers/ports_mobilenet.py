"""Light SSDs of other projects: torchvision's SSDLite on MobileNet v3, and qfgaohao's on MobileNet v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models import mobilenetv3
from singleshot.models.layers import LITE_NORM_EPSILON
from singleshot.models.mobilenetv1 import PAIRS
from singleshot.models.mobilenetv2 import MobileNetV2
from singleshot.spec import BoxSpec, Compatibility, ExtraBlock, MapBoxes, ModelSpec, Postprocess, Preprocess
from singleshot.variants import SSD300_MOBILENETV1, SSDLITE320_MOBILENETV2, SSDLITE320_MOBILENETV3
from singleshot.weights.classes import names_for
from singleshot.weights.importers.port import Port

Found = tuple[ModelSpec, dict[str, Tensor]]


_QFGAOHAO_INPUT = Preprocess(mean_rgb=(127.0,) * 3, std_rgb=(128.0,) * 3, channel_order="rgb")
_QFGAOHAO_BOXES = BoxSpec(
    tuple(
        MapBoxes((low,), (low + 45,), (2.0, 3.0), step)
        for low, step in ((60.0, 16.0), (105.0, 32.0), (150.0, 64.0), (195.0, 100.0), (240.0, 150.0), (285.0, 300.0))
    ),
    truncate_sizes=False,
)
_BOXES_A_CELL = 6


def is_torchvision_lite(state: Mapping[str, Tensor]) -> bool:
    """Whether it is torchvision's `ssdlite320_mobilenet_v3_large`."""
    return "head.classification_head.module_list.0.0.0.weight" in state


def read_torchvision_lite(state: Mapping[str, Tensor], class_names: Sequence[str] | None, *, origin: str) -> Found:
    """Specification and tensors of torchvision's SSDLite320 on MobileNet v3-Large with its reduced tail.

    Raises:
        ModelError: a layer is missing or left over; it is named.
    """
    port = Port(state, origin=origin, what="torchvision's SSDLite")
    body = "backbone.features"

    def fold(target: str, original: str) -> None:
        port.block(f"backbone.{target}", f"{original}.0", f"{original}.1", epsilon=mobilenetv3.NORM_EPSILON)

    fold("stem", f"{body}.0.0")
    split = 13  # the second half begins inside this block, behind its expansion, which is the first source map
    for number, (_, _, _, squeeze, _, _) in enumerate(mobilenetv3.BLOCKS, 1):
        half = f"{body}.0.{number}" if number < split else f"{body}.1.{number - split}"
        inside = half if number == split else f"{half}.block"
        part = 0
        if number > 1:
            fold(f"block{number}.expand", f"{body}.0.{split}" if number == split else f"{inside}.0")
            part = 1
        fold(f"block{number}.depthwise", f"{inside}.{part}")
        if squeeze:
            part += 1
            for target, original in (("reduce", "fc1"), ("expand", "fc2")):
                port.block(f"backbone.block{number}.squeeze.{target}", f"{inside}.{part}.{original}")
        fold(f"block{number}.project", f"{inside}.{part + 1}")
    fold("last", f"{body}.1.{len(mobilenetv3.BLOCKS) - split + 1}")
    for number, block in enumerate(SSDLITE320_MOBILENETV3.extras):
        place = f"backbone.extra.{number}"
        for target, part in (
            (f"{block.name}_1", 0),
            (f"{block.name}_2.depthwise", 1),
            (f"{block.name}_2.pointwise", 2),
        ):
            port.lite(f"extras.{target}", f"{place}.{part}.0", f"{place}.{part}.1")
    for number, source in enumerate(SSDLITE320_MOBILENETV3.sources):
        for target, original in (("location", "regression_head"), ("confidence", "classification_head")):
            place = f"head.{original}.module_list.{number}"
            port.lite(f"heads.{target}.{source}.depthwise", f"{place}.0.0", f"{place}.0.1", epsilon=LITE_NORM_EPSILON)
            port.plain(f"heads.{target}.{source}.pointwise", f"{place}.1")
    start = SSDLITE320_MOBILENETV3
    scores = len(port.state[f"heads.confidence.{start.sources[0]}.pointwise.bias"])
    spec = replace(
        start,
        class_names=names_for(scores // _BOXES_A_CELL, class_names, origin),
        compatibility=replace(start.compatibility, box_limits=("sizes",)),
        postprocess=Postprocess(score_threshold=0.001, nms_threshold=0.55, top_k=300, keep_top_k=300),
    )
    return spec, port.finished()


def is_qfgaohao(state: Mapping[str, Tensor]) -> bool:
    """Whether it is one of qfgaohao/pytorch-ssd's detectors on MobileNet v1 or v2."""
    return "classification_headers.5.weight" in state and ("base_net.13.3.weight" in state or _is_v2(state))


def read_qfgaohao(state: Mapping[str, Tensor], class_names: Sequence[str] | None, *, origin: str) -> Found:
    """Specification and tensors of `mb1-ssd`, `mb1-ssd-lite` or `mb2-ssd-lite`.

    Their last map's head is a full convolution; where it is 1x1, it becomes the middle of a 3x3 one.

    Raises:
        ModelError: a layer is missing or left over; it is named.
    """
    lite = "classification_headers.0.0.weight" in state
    second = _is_v2(state)
    kind = f"qfgaohao's mb{2 if second else 1}-ssd{'-lite' if lite else ''}"
    port = Port(state, origin=origin, what=kind)
    (_carry_mobilenetv2 if second else _carry_mobilenetv1)(port)
    start = SSDLITE320_MOBILENETV2 if second else SSD300_MOBILENETV1
    extras = tuple(_extra(port, block.name, number, lite=lite) for number, block in enumerate(start.extras))
    for number, source in enumerate(start.sources):
        for target, original in (("location", "regression_headers"), ("confidence", "classification_headers")):
            _carry_head(port, f"heads.{target}.{source}", f"{original}.{number}")
    last = start.sources[-1]
    scores = len(port.state[f"heads.confidence.{last}.bias"])
    if scores % _BOXES_A_CELL:
        raise ModelError(f"{origin}: {scores} class scores do not part evenly among {_BOXES_A_CELL} boxes a cell")
    spec = replace(
        start,
        name=f"ssd{'lite' if lite else ''}300-{start.backbone}",
        input_size_hw=(300, 300),
        class_names=names_for(scores // _BOXES_A_CELL, class_names, origin),
        boxes=_QFGAOHAO_BOXES,
        extras=extras,
        preprocess=_QFGAOHAO_INPUT,
        postprocess=Postprocess(top_k=200),
        separable=lite,
        head_kernel=3,
        compatibility=Compatibility(
            lite_activation="relu6" if second or not lite else "relu",
            full_heads=(last,) if lite else (),
            box_limits=("centres", "sizes"),
        ),
    )
    return spec, port.finished()


def _is_v2(state: Mapping[str, Tensor]) -> bool:
    return "base_net.1.conv.0.weight" in state


def _carry_mobilenetv1(port: Port) -> None:
    port.block("backbone.conv0", "base_net.0.0", "base_net.0.1")
    for number in range(1, len(PAIRS) + 1):
        port.block(f"backbone.conv{number}_dw", f"base_net.{number}.0", f"base_net.{number}.1")
        port.block(f"backbone.conv{number}", f"base_net.{number}.3", f"base_net.{number}.4")


def _carry_mobilenetv2(port: Port) -> None:
    port.block("backbone.stem", "base_net.0.0", "base_net.0.1")
    for number, (expansion, *_) in enumerate(MobileNetV2.BLOCKS, 1):
        names = ("expand", "depthwise", "project") if expansion != 1 else ("depthwise", "project")
        for place, name in enumerate(names):
            original = f"base_net.{number}.conv"
            port.block(f"backbone.block{number}.{name}", f"{original}.{3 * place}", f"{original}.{3 * place + 1}")
    last = len(MobileNetV2.BLOCKS) + 1
    port.block("backbone.last", f"base_net.{last}.0", f"base_net.{last}.1")


def _extra(port: Port, name: str, number: int, *, lite: bool) -> ExtraBlock:
    """Carry one extra block over: plain, separable without activation behind it, or an inverted residual."""
    place, target = f"extras.{number}", f"extras.{name}"
    if f"{place}.conv.0.weight" in port.source:  # inverted residual of MobileNet v2
        port.lite(f"{target}_1", f"{place}.conv.0", f"{place}.conv.1", epsilon=1e-5)
        port.lite(f"{target}_2.depthwise", f"{place}.conv.3", f"{place}.conv.4", epsilon=1e-5)
        port.lite(f"{target}_2.pointwise", f"{place}.conv.6", f"{place}.conv.7", epsilon=1e-5)
    elif lite:
        port.lite(f"{target}_1", f"{place}.0")
        port.lite(f"{target}_2.depthwise", f"{place}.2.0")
        port.lite(f"{target}_2.pointwise", f"{place}.2.2")
    else:
        port.block(f"{target}_1", f"{place}.0")
        port.block(f"{target}_2", f"{place}.2")
    squeeze = len(port.state[f"{target}_1.convolution.weight"])
    channels = len(port.state[f"{target}_2.{'pointwise.' if lite else ''}convolution.weight"])
    return ExtraBlock(name, squeeze, channels, stride=2, padding=1, linear=lite)


def _carry_head(port: Port, target: str, original: str) -> None:
    if f"{original}.weight" in port.source:
        port.plain(target, original)
        weight = port.state[f"{target}.weight"]
        if weight.shape[-1] == 1:
            middle = weight.new_zeros(*weight.shape[:2], 3, 3)
            middle[:, :, 1:2, 1:2] = weight
            port.state[f"{target}.weight"] = middle
        return
    normalised = f"{original}.1.weight" in port.source
    port.lite(f"{target}.depthwise", f"{original}.0", f"{original}.1" if normalised else None, epsilon=1e-5)
    port.plain(f"{target}.pointwise", f"{original}.{3 if normalised else 2}")
