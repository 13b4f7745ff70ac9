"""What the light budget makes of a row of tables 2 and 3: a pretrained MobileNetV2 under the row's own default boxes.

The comparison stays the paper's: source maps of the same strides, the row's boxes in fractions of the image, its
matching, loss, mining and augmentation. What is cheaper is the backbone, the input and the length. A row about atrous
convolutions is about VGG-16, and keeps it.
"""

from __future__ import annotations

from dataclasses import replace

from singleshot.lab.reproduce.paper import Schedule, TableRow
from singleshot.spec import ModelSpec
from singleshot.train.recipe import Recipe, recipe_for
from singleshot.variants import SSDLITE320_MOBILENETV2

SIDE, VGG_SIDE = 192, 160
"""Sides of the input, pixels: the largest with which tables 2 and 3 take less than six hours of two cores."""
STEPS, VGG_STEPS = 1875, 625
"""Steps of 16 images: 12 and 4 passes over VOC2007's 2,500 training images."""
MAPS = {"conv4_3": "block7_expand", "fc7": "block14_expand", "conv8_2": "last"}
"""Maps of MobileNetV2 with the strides (8, 16, 32) of VGG-16's."""
OPTIMIZER = (
    "optimizer", "learning_rate", "schedule", "warmup_steps", "batch_size", "weight_decay", "bias_lr_factor",
    "backbone_lr_factor", "grad_clip_norm", "ema_decay",
)  # fmt: skip
"""Settings that are the recipe `modern`'s; the others are the row's."""


def light_network(row: TableRow) -> ModelSpec:
    """The row's network at this cost: grids of 24, 12, 6, 3, 2, 1 (VGG-16: 20, 10, 5, 3, 2, 1).

    The last three maps halve with padding, as SSDLite's: SSD300's own would vanish at this input.
    """
    if row.needs_vgg:
        backbone = "vgg16-undilated" if row.spec.backbone == "vgg16-full" else row.spec.backbone
        spec = replace(row.spec, backbone=backbone)
        side = VGG_SIDE
    else:
        spec = replace(
            row.spec,
            name="ssd300-mobilenetv2",
            backbone="mobilenetv2",
            sources=tuple(MAPS.get(name, name) for name in row.spec.sources),
            extras=row.spec.extras[1:],
            normalised=(),
            separable=True,
            preprocess=SSDLITE320_MOBILENETV2.preprocess,
            compatibility=SSDLITE320_MOBILENETV2.compatibility,
        )
        side = SIDE
    extras = tuple(replace(block, stride=2, padding=1) for block in spec.extras)
    return replace(spec, extras=extras).with_input_size(side, side)


def light_recipe(row: TableRow, schedule: Schedule) -> Recipe:
    """The row's recipe with the optimizer of `modern`, and images scaled while they are decoded."""
    modern = recipe_for("modern", light_network(row))
    settings = {name: getattr(modern, name) for name in OPTIMIZER}
    return replace(schedule.recipe, **settings, augment=replace(schedule.recipe.augment, pixels="fast"))


def light_steps(row: TableRow) -> int:
    """Steps of the row's training."""
    return (VGG_STEPS if row.needs_vgg else STEPS) * row.lengthened
