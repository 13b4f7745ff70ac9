"""Layers of a pretrained backbone that keep their weights: the early ones, which see edges and textures of any data.

No gradient has to be computed for them, and theirs are the largest maps.
"""

from __future__ import annotations

from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.spec import TAP_STRIDES


def freeze_early_layers(model: SSD, stride: int) -> None:
    """Keep the weights of all layers before the backbone's first named map of this stride; 0 freezes none.

    Args:
        model: its parameters lose `requires_grad`, so that no optimizer takes them.
        stride: of a map of `spec.TAP_STRIDES`, such as 4 or 8.

    Raises:
        RequestError: the backbone has no such map.
    """
    if not stride:
        return
    maps = TAP_STRIDES.get(model.spec.backbone, {})
    name_of_map = next((name for name, of_map in maps.items() if of_map == stride), None)
    if name_of_map is None:
        known = ", ".join(map(str, sorted(set(maps.values())))) or "none"
        raise RequestError(
            f"frozen_stride is 0 or the stride of a map of {model.spec.backbone} ({known}), got {stride}"
        )
    first_trained = name_of_map.partition("_expand")[0]
    for name, layer in model.backbone.named_children():
        if name in {first_trained, f"{first_trained}_dw"}:
            return
        layer.requires_grad_(requires_grad=False)
