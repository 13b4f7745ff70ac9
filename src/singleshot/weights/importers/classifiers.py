"""Classifiers of PyTorch as backbones: which network a state dict is, and its tensors under our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from singleshot.spec import ModelSpec, Preprocess
from singleshot.variants import SSD300_VGG16, SSD300_VGG16_FULL, SSDLITE320_EFFICIENTNETLITE0, SSDLITE320_MOBILENETV2
from singleshot.weights.importers.efficientnet import efficientnetlite0_base, is_efficientnet
from singleshot.weights.importers.torchvision import from_torchvision


def variant_of_classifier(state: Mapping[str, Tensor], *, whole: bool = False) -> ModelSpec:
    """The named model on the backbone that a classifier's state dict is of; `whole` is `ssd300-vgg16-full`'s fc6."""
    if is_efficientnet(state):
        return SSDLITE320_EFFICIENTNETLITE0
    if "features.18.0.weight" in state:
        return SSDLITE320_MOBILENETV2
    return SSD300_VGG16_FULL if whole else SSD300_VGG16


def from_classifier(
    state: Mapping[str, Tensor], preprocess: Preprocess, *, whole: bool = False, origin: str
) -> dict[str, Tensor]:
    """Tensors under our names of a classifier of torchvision's, or of an EfficientNet-Lite0 (see `efficientnet`).

    Arguments and errors as `from_torchvision`.
    """
    if is_efficientnet(state):
        return efficientnetlite0_base(state, preprocess, origin=origin)
    return from_torchvision(state, preprocess, whole=whole, origin=origin)
