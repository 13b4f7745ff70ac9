"""Classifier weights in torchvision's layout as bases: VGG-16 (with its fully connected layers) and MobileNetV2."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.layers import BACKBONE_NORM_EPSILON
from singleshot.models.mobilenetv2 import MobileNetV2
from singleshot.models.vgg import LAYERS
from singleshot.shapes import Float
from singleshot.spec import Preprocess
from singleshot.weights.importers.first_layer import convert_input

# What torchvision's classifiers take: RGB, fractions of 255 normalised by ImageNet's mean and deviation.
CLASSIFIER_INPUT = Preprocess(
    mean_rgb=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std_rgb=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    channel_order="rgb",
)
_CHANNELS_KEPT, _PIXELS_KEPT = 4, 3  # every 4th of fc6's 4096 filters, every 3rd of its 7 pixels


def from_torchvision(
    state: Mapping[str, Tensor], preprocess: Preprocess, *, whole: bool = False, origin: str
) -> dict[str, Tensor]:
    """Tensors under our names; a state that already has them comes back as it is.

    The classifier's own padding is on both sides: a MobileNetV2 from here belongs into a network without
    `tensorflow_padding`.

    Args:
        state: a classifier's state dict.
        preprocess: what the network will be fed; the first convolution is rewritten for it, see `convert_input`.
        whole: see `vgg16_base`.
        origin: file, for messages.

    Raises:
        ModelError: neither ours, nor VGG-16's or MobileNetV2's of torchvision.
    """
    if any(name.startswith("backbone.") and ".convolution." in name for name in state):
        return dict(state)
    if "features.0.0.weight" in state and "features.18.0.weight" in state:
        return _converted(mobilenetv2_base(state, origin=origin), "stem", preprocess)
    if "features.0.weight" in state:
        return _converted(vgg16_base(state, whole=whole, origin=origin), "conv1_1", preprocess)
    some = ", ".join(list(state)[:3]) or "nothing"
    raise ModelError(
        f"{origin} holds neither our layers nor torchvision's VGG-16 or MobileNetV2; it begins with {some}"
    )


def _converted(base: Mapping[str, Tensor], first: str, preprocess: Preprocess) -> dict[str, Tensor]:
    return convert_input(base, f"backbone.{first}.convolution", CLASSIFIER_INPUT, preprocess)


def vgg16_base(state: Mapping[str, Tensor], *, whole: bool = False, origin: str) -> dict[str, Tensor]:
    """VGG-16 classifier to SSD's base; fc6 and fc7 are subsampled into the atrous convolutions.

    Takes pixels as the classifier did. Without `classifier.*` only the convolutions are given.

    Args:
        state: a classifier's state dict.
        whole: leave fc6 and fc7 whole, as convolutions of 7x7 and 1x1 (the base `vgg16-full`).
        origin: file, for messages.
    """
    base: dict[str, Tensor] = {}
    for name, position in vgg16_positions().items():
        if name.startswith("conv"):
            for part in ("weight", "bias"):
                base[f"backbone.{name}.convolution.{part}"] = _take(state, f"features.{position}.{part}", origin)
    if "classifier.0.weight" in state:
        weight = _take(state, "classifier.0.weight", origin)
        if weight.shape[1] % 49:
            raise ModelError(f"{origin}: classifier.0.weight must see 7x7 positions, got {tuple(weight.shape)}")
        for name, number in (("fc6", 0), ("fc7", 3)):
            weight, bias = (_take(state, f"classifier.{number}.{part}", origin) for part in ("weight", "bias"))
            weight, bias = fully_connected(name, weight, bias, whole=whole)
            base[f"backbone.{name}.convolution.weight"], base[f"backbone.{name}.convolution.bias"] = weight, bias
    return base


def fully_connected(
    name: str, weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"], *, whole: bool
) -> tuple[Float[Tensor, "o i h w"], Float[Tensor, " o"]]:
    """A classifier's `fc6` or `fc7` as a convolution of the base, subsampled unless `whole`."""
    side, inputs_apart = (7, 1) if name == "fc6" else (1, _CHANNELS_KEPT)
    filters = weight.reshape(len(bias), -1, side, side)
    if whole:
        return filters, bias
    return subsample(filters, _CHANNELS_KEPT, inputs_apart, _PIXELS_KEPT), bias[::_CHANNELS_KEPT].clone()


def vgg16_positions() -> dict[str, int]:
    """Where each layer of ours stands in one list of VGG-16's layers, in which each ReLU takes a place, too."""
    positions, place = {}, 0
    for name in LAYERS:
        positions[name] = place
        place += 1 if name.startswith("pool") else 2
    return positions


def subsample(weight: Float[Tensor, "O I h w"], outputs: int, inputs: int, pixels: int) -> Float[Tensor, "o i y x"]:
    """Every n-th filter, input channel and pixel, from the first on: 4096 x 512 x 7 x 7 -> 1024 x 512 x 3 x 3.

    DeepLab-LargeFOV's decimation (paper section 3): taps 0, 3, 6 of 7 pixels, six pixels apart in the image of
    dilation 6 once pool5 keeps the resolution.
    """
    return weight[::outputs, ::inputs, ::pixels, ::pixels].contiguous()


def mobilenetv2_base(state: Mapping[str, Tensor], *, origin: str) -> dict[str, Tensor]:
    """MobileNetV2 classifier to our base without batch normalisation, which is folded into the convolutions."""
    base: dict[str, Tensor] = {}

    def fold(target: str, convolution: str, norm: str) -> None:
        weight = _take(state, f"{convolution}.weight", origin)
        parts = [_take(state, f"{norm}.{part}", origin) for part in ("weight", "bias", "running_mean", "running_var")]
        folded = fold_norm(weight, None, *parts, epsilon=BACKBONE_NORM_EPSILON)
        base[f"backbone.{target}.convolution.weight"], base[f"backbone.{target}.convolution.bias"] = folded

    fold("stem", "features.0.0", "features.0.1")
    for number, (expansion, *_) in enumerate(MobileNetV2.BLOCKS, 1):
        place, part = f"features.{number}.conv", 0
        if expansion != 1:
            fold(f"block{number}.expand", f"{place}.0.0", f"{place}.0.1")
            part = 1
        fold(f"block{number}.depthwise", f"{place}.{part}.0", f"{place}.{part}.1")
        fold(f"block{number}.project", f"{place}.{part + 1}", f"{place}.{part + 2}")
    fold("last", "features.18.0", "features.18.1")
    return base


def fold_norm(
    weight: Float[Tensor, "O I h w"],
    bias: Float[Tensor, " O"] | None,
    gamma: Float[Tensor, " O"],
    beta: Float[Tensor, " O"],
    mean: Float[Tensor, " O"],
    variance: Float[Tensor, " O"],
    *,
    epsilon: float,
) -> tuple[Float[Tensor, "O I h w"], Float[Tensor, " O"]]:
    """Weight and bias of one convolution that does what convolution and batch normalisation did.

    gamma (w x + b - mean) / sqrt(variance + eps) + beta; computed in float64, returned in float32.
    """
    factor = gamma.double() / torch.sqrt(variance.double() + epsilon)
    shift = -mean.double() if bias is None else bias.double() - mean.double()
    return (weight.double() * factor.view(-1, 1, 1, 1)).float(), (beta.double() + shift * factor).float()


def _take(state: Mapping[str, Tensor], name: str, origin: str) -> Tensor:
    if name not in state:
        raise ModelError(f"{origin} has no {name}, which this architecture has in torchvision's layout")
    return state[name].float()
