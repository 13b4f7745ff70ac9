"""SSD300 and SSD512 on VGG-16 as four other projects save them: the same network under other names.

What differs beside the names: torchvision learns from COCO's smaller default boxes whatever the data, and all four hold
default boxes inside the image, each in its way (`Compatibility.box_limits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.vgg import LAYERS
from singleshot.spec import BoxSpec, Compatibility, ModelSpec, Postprocess, Preprocess
from singleshot.variants import BOXES_300_COCO, BOXES_300_VOC, BOXES_512_COCO, BOXES_512_VOC, SSD300_VGG16, SSD512_VGG16
from singleshot.weights.classes import COCO_COUNTS, names_for
from singleshot.weights.importers.port import Port
from singleshot.weights.importers.torchvision import vgg16_positions

_RGB = Preprocess(mean_rgb=(123.0, 117.0, 104.0), channel_order="rgb")
_BEST_200 = Postprocess(top_k=200)
_TORCHVISION_RGB = Preprocess(mean_rgb=(0.48235 * 255, 0.45882 * 255, 0.40784 * 255), channel_order="rgb")


@dataclass(frozen=True)
class Layout:
    """How one project names the layers, as patterns of a number.

    Attributes:
        name: the project.
        marker: a tensor that only its files have.
        base: `{n}` is the place in one long list of VGG-16's layers, fc6 and fc7 among them.
        extras: `{block}` and `{part}` of an extra block; `{n}` counts convolutions.
        part: how far the second convolution of a block stands behind the first.
        norm: the scale of conv4_3's normalisation.
        location: heads, `{n}` counts maps.
        confidence: likewise.
        preprocess: what the network was fed.
        postprocess: as its own detection function has it.
        limit: of default boxes.
        follows_data: default boxes are VOC's or COCO's, by the number of classes; else always COCO's.
    """

    name: str
    marker: str
    base: str
    extras: str
    part: int
    norm: str
    location: str
    confidence: str
    preprocess: Preprocess = _RGB
    postprocess: Postprocess = _BEST_200
    limit: tuple[str, ...] = ("centres", "sizes")
    follows_data: bool = True


LAYOUTS = (
    Layout(
        "torchvision",
        marker="backbone.scale_weight",
        base="backbone.features.{n}",
        extras="backbone.extra.{block}.{part}",
        part=2,
        norm="backbone.scale_weight",
        location="head.regression_head.module_list.{n}",
        confidence="head.classification_head.module_list.{n}",
        preprocess=_TORCHVISION_RGB,
        postprocess=Postprocess(),
        limit=("sizes",),
        follows_data=False,
    ),
    Layout(
        "lufficc/SSD",
        marker="backbone.l2_norm.weight",
        base="backbone.vgg.{n}",
        extras="backbone.extras.{n}",
        part=1,
        norm="backbone.l2_norm.weight",
        location="box_head.predictor.reg_headers.{n}",
        confidence="box_head.predictor.cls_headers.{n}",
        postprocess=Postprocess(top_k=-1, keep_top_k=100),
    ),
    Layout(
        "ssd.pytorch",
        marker="L2Norm.weight",
        base="vgg.{n}",
        extras="extras.{n}",
        part=1,
        norm="L2Norm.weight",
        location="loc.{n}",
        confidence="conf.{n}",
    ),
    Layout(
        "qfgaohao/pytorch-ssd",
        marker="source_layer_add_ons.0.scale",
        base="base_net.{n}",
        extras="extras.{block}.{part}",
        part=2,
        norm="source_layer_add_ons.0.scale",
        location="regression_headers.{n}",
        confidence="classification_headers.{n}",
    ),
)


def layout_of(state: Mapping[str, Tensor]) -> Layout | None:
    """The project that saved this state dict, if it is one of ours to read."""
    return next((layout for layout in LAYOUTS if layout.marker in state), None)


def read(
    state: Mapping[str, Tensor], layout: Layout, class_names: Sequence[str] | None, *, origin: str
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """Specification and tensors of a detector.

    Args:
        state: as the project saves it.
        layout: its names.
        class_names: L names; None takes those that their number suggests.
        origin: file, for messages.

    Raises:
        ModelError: a layer is missing or left over; it is named.
    """
    maps = sum(1 for n in range(20) if f"{layout.location.format(n=n)}.weight" in state)
    start = SSD512_VGG16 if maps == len(SSD512_VGG16.sources) else SSD300_VGG16
    port = Port(state, origin=origin, what=f"the {start.name} of {layout.name}")
    _carry_base(port, layout)
    blocks = [block.name for block in start.extras]
    for number, block in enumerate(blocks):
        first = 1 if layout.name == "torchvision" else 0  # its first "extra" is the end of the base
        for part in (0, 1):
            place = layout.extras.format(block=number + first, part=layout.part * part, n=2 * number + part)
            port.block(f"extras.{block}_{part + 1}", place)
    for number, source in enumerate(start.sources):
        port.plain(f"heads.location.{source}", layout.location.format(n=number))
        port.plain(f"heads.confidence.{source}", layout.confidence.format(n=number))
    port.state["norms.conv4_3.scale"] = port.take(layout.norm).flatten()
    outputs, boxes = len(port.state["heads.confidence.conv4_3.bias"]), start.boxes.maps[0].boxes_per_cell
    if outputs % boxes:
        raise ModelError(f"{origin}: {outputs} class scores do not part evenly among {boxes} default boxes a cell")
    num_classes = outputs // boxes
    spec = replace(
        start,
        class_names=names_for(num_classes, class_names, origin),
        boxes=_boxes(start, layout, num_classes),
        preprocess=layout.preprocess,
        postprocess=layout.postprocess,
        compatibility=Compatibility(box_limits=layout.limit),
    )
    return spec, port.finished()


def _carry_base(port: Port, layout: Layout) -> None:
    """VGG-16's layers; torchvision keeps those behind conv4_3 in its first "extra"."""
    positions = vgg16_positions()
    for name in LAYERS:
        if name.startswith("pool"):
            continue
        place = layout.base.format(n=positions[name])
        if layout.name == "torchvision" and name.startswith("fc"):
            place = f"backbone.extra.0.7.{1 if name == 'fc6' else 3}"
        elif layout.name == "torchvision" and positions[name] > positions["pool4"]:
            place = f"backbone.extra.0.{positions[name] - positions['pool4']}"
        port.block(f"backbone.{name}", place)


def _boxes(start: ModelSpec, layout: Layout, num_classes: int) -> BoxSpec:
    of_coco = not layout.follows_data or num_classes - 1 in COCO_COUNTS
    if start is SSD512_VGG16:
        boxes = BOXES_512_COCO if of_coco else BOXES_512_VOC
    else:
        boxes = BOXES_300_COCO if of_coco else BOXES_300_VOC
    return replace(boxes, truncate_sizes=False)
