"""Layers of a pretrained backbone that keep their weights: the early ones, which see edges and textures of any data.

No gradient has to be computed for them, and theirs are the largest maps.
"""

from __future__ import annotations

from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.spec import TAP_STRIDES


def freeze_early_layers(model: SSD, stride: int) -> None:
    """Keep the weights of all layers before the backbone's named map of this stride; 0 freezes none.

    Args:
        model: its parameters lose `requires_grad`, so that no optimizer takes them.
        stride: 4 or 8, of a map of `spec.TAP_STRIDES`.

    Raises:
        RequestError: the backbone has no such map.
    """
    if not stride:
        return
    maps = {strides: name for name, strides in TAP_STRIDES.get(model.spec.backbone, {}).items()}
    if stride not in maps:
        known = ", ".join(str(known) for known in sorted(maps)) or "none"
        raise RequestError(
            f"frozen_stride is 0 or the stride of a map of {model.spec.backbone} ({known}), got {stride}"
        )
    first_trained = maps[stride].partition("_expand")[0]
    for name, layer in model.backbone.named_children():
        if name in {first_trained, f"{first_trained}_dw"}:
            return
        layer.requires_grad_(requires_grad=False)
