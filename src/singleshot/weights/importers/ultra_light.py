"""Ultra-Light-Face, RFB and slim: a state dict, or the Caffe files that were made of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from singleshot.models.ultralight import FIELD, PAIRS, STEM
from singleshot.spec import BoxSpec, Compatibility, ExtraBlock, MapBoxes, ModelSpec, Postprocess, Preprocess
from singleshot.weights.classes import names_for
from singleshot.weights.importers.port import Port

_MIN_SIZES = ((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 96.0), (128.0, 192.0, 256.0))
RFB320 = ModelSpec(
    name="ultralight320-rfb",
    backbone="ultralight-rfb",
    input_size_hw=(240, 320),
    class_names=("face",),
    sources=("conv7", "conv10", "conv12", "extra1_2"),
    boxes=BoxSpec(tuple(MapBoxes(sizes, (), ()) for sizes in _MIN_SIZES)),
    extras=(ExtraBlock("extra1", 64, 256, stride=2, padding=1),),
    preprocess=Preprocess(mean_rgb=(127.0,) * 3, std_rgb=(128.0,) * 3, channel_order="rgb"),
    postprocess=Postprocess(nms_threshold=0.3),
    separable=True,
    compatibility=Compatibility(lite_activation="relu", full_heads=("extra1_2",), box_limits=("centres", "sizes")),
)
_BRANCHES = {"branch1": 3, "branch2": 3, "branch3": 4}
"""Convolutions of each branch of the receptive field block, which the project counts from 0."""


def is_ultra_light(state: Mapping[str, Tensor]) -> bool:
    """Whether it is a state dict of this project."""
    stem = state.get("base_net.0.0.weight")
    return stem is not None and stem.ndim == 4 and len(stem) == STEM and "base_net.13.3.weight" not in state


def spec_of(size_hw: tuple[int, int] | None, *, field: bool) -> ModelSpec:
    """The detector for an input size; left out, 320x240. Its box sizes are pixels of any input, and do not grow."""
    height, width = size_hw or RFB320.input_size_hw
    kind = "rfb" if field else "slim"
    return replace(
        RFB320, name=f"ultralight{width}-{kind}", backbone=f"ultralight-{kind}", input_size_hw=(height, width)
    )


def read(
    state: Mapping[str, Tensor],
    class_names: Sequence[str] | None,
    *,
    size_hw: tuple[int, int] | None = None,
    origin: str,
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """Specification and tensors of a detector from its state dict.

    Args:
        state: as the project saves it.
        class_names: L names; None for `face`.
        size_hw: the input's height and width; a state dict does not say.
        origin: file, for messages.

    Raises:
        ModelError: a layer is missing or left over; it is named.
    """
    field = f"base_net.{FIELD}.shortcut.conv.weight" in state
    return carried(state, places(field=field), class_names, spec_of(size_hw, field=field), origin=origin)


def carried(
    state: Mapping[str, Tensor],
    layer_places: Sequence[Place],
    class_names: Sequence[str] | None,
    spec: ModelSpec,
    *,
    origin: str,
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The tensors that stand at these places, and the specification with the classes that they know.

    Raises:
        ModelError: a layer is missing or left over.
    """
    port = Port(state, origin=origin, what=f"Ultra-Light-Face's {spec.backbone.removeprefix('ultralight-')}")
    for place in layer_places:
        if place.target.startswith("backbone."):
            port.block(place.target, place.original, place.norm)
        elif place.target.startswith("heads.") and not place.target.endswith(".depthwise"):
            port.plain(place.target, place.original)
        else:
            port.lite(place.target, place.original)
    scores = len(port.state[f"heads.confidence.{spec.sources[-1]}.bias"])
    num_classes = scores // spec.boxes.maps[-1].boxes_per_cell
    if num_classes == RFB320.num_classes and class_names is None:
        class_names = RFB320.class_names
    return replace(spec, class_names=names_for(num_classes, class_names, origin)), port.finished()


class Place(NamedTuple):
    """Where a convolution stands with us and with them, where its normalisation stands, and what it sees."""

    target: str
    original: str
    norm: str | None
    sees: tuple[str, ...]


def places(*, field: bool) -> list[Place]:
    """Every convolution in the order of execution; `sees` are the convolutions whose outputs it takes together."""
    layer_places = [Place("backbone.conv0", "base_net.0.0", "base_net.0.1", ())]
    seen: tuple[str, ...] = ("backbone.conv0",)

    def follow(target: str, original: str, norm: str | None = None) -> None:
        nonlocal seen
        layer_places.append(Place(target, original, norm, seen))
        seen = (target,)

    for number in range(1, len(PAIRS) + 1):
        target, original = f"backbone.conv{number}", f"base_net.{number}"
        if field and number == FIELD:
            layer_places += _field_places(target, original, seen)
            seen = (f"{target}.join", f"{target}.shortcut")
        else:
            follow(f"{target}.depthwise", f"{original}.0", f"{original}.1")
            follow(f"{target}.pointwise", f"{original}.3", f"{original}.4")
        if f"conv{number}" in RFB320.sources:
            place = RFB320.sources.index(f"conv{number}")
            for kind, name in (("confidence", "classification"), ("location", "regression")):
                head, original = f"heads.{kind}.conv{number}", f"{name}_headers.{place}"
                layer_places.append(Place(f"{head}.depthwise", f"{original}.0", None, seen))
                layer_places.append(Place(f"{head}.pointwise", f"{original}.2", None, (f"{head}.depthwise",)))
    follow("extras.extra1_1", "extras.0.0")
    follow("extras.extra1_2.depthwise", "extras.0.2.0")
    follow("extras.extra1_2.pointwise", "extras.0.2.2")
    layer_places.append(Place("heads.confidence.extra1_2", "classification_headers.3", None, seen))
    layer_places.append(Place("heads.location.extra1_2", "regression_headers.3", None, seen))
    return layer_places


def _field_places(target: str, original: str, seen: tuple[str, ...]) -> list[Place]:
    layer_places: list[Place] = []
    ends: list[str] = []
    for number, (branch, count) in enumerate(_BRANCHES.items()):
        sees = seen
        for part in range(count):
            place = f"{original}.branch{number}.{part}"
            layer_places.append(Place(f"{target}.{branch}.{part}", f"{place}.conv", f"{place}.bn", sees))
            sees = (f"{target}.{branch}.{part}",)
        ends += sees
    for end, name, sees in (("join", "ConvLinear", tuple(ends)), ("shortcut", "shortcut", seen)):
        layer_places.append(Place(f"{target}.{end}", f"{original}.{name}.conv", f"{original}.{name}.bn", sees))
    return layer_places
