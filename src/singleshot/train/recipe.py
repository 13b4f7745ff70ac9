"""How a model is trained: optimizer, loss and augmentation (the paper's section 3) as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from singleshot.augment.settings import AugmentSettings
from singleshot.errors import RequestError, UnknownNameError
from singleshot.spec import ModelSpec

RecipeName: TypeAlias = Literal["caffe", "modern", "multibox", "aligned"]
Schedule: TypeAlias = Literal["step", "cosine"]
CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "schedule": get_args(Schedule),
    "assignment": ("iou", "task_aligned"),
    "mining": ("hard", "none"),
    "box_scales": ("model", "paper"),
    "localisation_loss": ("smooth_l1", "l2", "giou"),
    "confidence_loss": ("softmax", "focal", "varifocal"),
    "normalise": ("worker", "global"),
}
"""The settings that take one of several names."""
FRACTIONS = ("label_smoothing", "ema_decay", "momentum")
NOT_NEGATIVE = (
    "warmup_steps", "backbone_lr_factor", "bias_lr_factor", "grad_clip_norm", "weight_decay", "negative_ratio",
    "localisation_weight",
)  # fmt: skip
OLD_NAMES = {
    "solver": "optimizer",
    "drops": "lr_milestones",
    "bias_rate": "bias_lr_factor",
    "backbone_rate": "backbone_lr_factor",
    "clip_norm": "grad_clip_norm",
    "overlap_threshold": "iou_threshold",
    "average": "ema_decay",
    "fits_data": "adapt_to_data",
}
"""Names that settings had in files and commands of earlier versions."""
LATER = {"assignment": "iou", "frozen_stride": 0}
"""Settings that files of earlier versions do not have, as training then was."""
OLD_VALUES = {"box_scales": {"kept": "model"}}


@dataclass(frozen=True)
class Recipe:
    """Optimizer, loss and augmentation settings.

    Attributes:
        name: `caffe`, `modern`, `aligned` or `multibox`.
        optimizer: `sgd` as in Caffe, or `adamw`.
        learning_rate: base learning rate of a step of `batch_size` images.
        schedule: `step` divides the learning rate by 10 at each of `lr_milestones`; `cosine` lowers it smoothly to 0.
        lr_milestones: fractions of the run, 0..1, rising; the paper's are 80k and 100k of 120k steps.
        warmup_steps: steps over which the learning rate rises linearly from 0.
        batch_size: images per step.
        accumulate: parts that the batch of a step is cut into when memory is short (Caffe's `iter_size`); each part is
            normalised by its own matched boxes.
        momentum: fraction of the velocity that is kept from step to step, 0..1; beta 1 of `adamw`.
        weight_decay: L2 penalty on weights; biases have none.
        bias_lr_factor: factor on the learning rate of biases.
        backbone_lr_factor: factor on the learning rate of the pretrained backbone.
        frozen_stride: layers of the pretrained backbone before its map of this stride keep their weights: 4 or 8; 0
            trains all.
        grad_clip_norm: greatest norm of the gradient, of the backbone and of the layers after it each; 0 disables.
        assignment: which default boxes learn an object: those of an `iou` from the threshold on (the paper), or, as
            `task_aligned`, those that predict it best (Feng et al. 2021), whatever IoU threshold and mining say.
        iou_threshold: IoU (the paper's jaccard overlap), 0..1, from which a default box matches a ground-truth box.
        boundary_boxes: whether default boxes that cross the image's border are trained; `false` is Caffe's
            `ignore_cross_boundary_bbox`. Detection uses all boxes in either case, as Caffe's does.
        mining: which unmatched boxes are negatives: `hard`, those with the highest loss, or `none`: all.
        negative_ratio: hard negatives per positive, 3 or 3:1 in the paper's section 2.2.
        box_scales: sizes of the default boxes where they are not adapted to the data and no trained heads depend on
            them: those of the `model`, or the `paper`'s (0.1, and 0.2 to 0.9 of the input).
        localisation_loss: `smooth_l1` (eq. 2), `l2` or `giou`.
        localisation_weight: weight of the localisation loss, alpha in eq. 1.
        confidence_loss: `softmax` (eq. 3), or `focal`, which uses every box whatever `mining` says, or `varifocal`:
            sigmoids that are to score as high as a box fits (Zhang et al. 2021), with `task_aligned` and `giou` alone.
        normalise: divide the loss by N of eq. 1, the matched boxes: of each process's own images (`worker`, as Caffe)
            or of all processes (`global`).
        label_smoothing: fraction of each class target that is spread over all classes, 0..1; `softmax` only.
        ema_decay: decay of the exponential moving average of the weights per step, 0..1; the averaged weights are
            evaluated and saved. 0 disables.
        adapt_to_data: let the data decide on batch size, IoU threshold and the scale of crops, see docs/settings.md.
        augment: the augmentation settings.
    """

    name: str = "caffe"
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    schedule: str = "step"
    lr_milestones: tuple[float, ...] = (2 / 3, 5 / 6)
    warmup_steps: int = 0
    batch_size: int = 32
    accumulate: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_lr_factor: float = 2.0
    backbone_lr_factor: float = 1.0
    frozen_stride: int = 0
    grad_clip_norm: float = 0.0
    assignment: str = "iou"
    iou_threshold: float = 0.5
    boundary_boxes: bool = True
    mining: str = "hard"
    negative_ratio: float = 3.0
    box_scales: str = "model"
    localisation_loss: str = "smooth_l1"
    localisation_weight: float = 1.0
    confidence_loss: str = "softmax"
    normalise: str = "worker"
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    adapt_to_data: bool = False
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UnknownNameError(name, getattr(self, name), choices)
        self._require_numbers()
        aligned = self.assignment == "task_aligned"
        if aligned != (self.confidence_loss == "varifocal") or (aligned and self.localisation_loss != "giou"):
            raise RequestError(
                "assignment task_aligned, confidence_loss varifocal and localisation_loss giou go together, got "
                f"{self.assignment}, {self.confidence_loss} and {self.localisation_loss}"
            )
        if self.label_smoothing and self.confidence_loss != "softmax":
            raise RequestError(f"label_smoothing goes with the softmax loss, not with {self.confidence_loss}")
        if self.batch_size < 1 or self.accumulate < 1:
            raise RequestError(
                f"batch_size and accumulate must be 1 or more, got {self.batch_size} and {self.accumulate}"
            )
        if self.batch_size % self.accumulate:
            raise RequestError(f"batch_size {self.batch_size} cannot be cut into {self.accumulate} equal parts")

    def _require_numbers(self) -> None:
        for name in FRACTIONS:
            if not 0 <= getattr(self, name) < 1:
                raise RequestError(f"{name} must be from 0 up to 1, got {getattr(self, name)}")
        if not 0 <= self.iou_threshold <= 1:
            raise RequestError(f"iou_threshold must be 0 to 1, got {self.iou_threshold}")
        milestones = self.lr_milestones
        if list(milestones) != sorted(milestones) or not all(0 < milestone <= 1 for milestone in milestones):
            raise RequestError(f"lr_milestones must be fractions of the run, rising, got {milestones}")
        if not 0 < self.learning_rate < math.inf:
            raise RequestError(f"learning_rate must be above 0, got {self.learning_rate}")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise RequestError(f"{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def mines(self) -> bool:
        """Whether negatives are mined; else every unmatched box is one."""
        return self.mining == "hard" and self.confidence_loss == "softmax"


CAFFE = Recipe()
MODERN = Recipe(
    name="modern",
    optimizer="adamw",
    learning_rate=5e-4,
    backbone_lr_factor=0.3,
    bias_lr_factor=1.0,
    weight_decay=0.05,
    schedule="cosine",
    warmup_steps=50,
    grad_clip_norm=10.0,
    batch_size=16,
    iou_threshold=0.35,
    box_scales="paper",
    ema_decay=0.99,
    adapt_to_data=True,
    augment=AugmentSettings(pixels="fast", max_expand_ratio=2.0),
)
# MultiBox, Szegedy et al. 2014: an object has one box, all others are negatives, and their squared errors add up.
MULTIBOX = replace(
    MODERN,
    name="multibox",
    iou_threshold=1.0,
    mining="none",
    localisation_loss="l2",
    localisation_weight=0.3,
    box_scales="model",
)
# TOOD, Feng et al. 2021, on the light detectors with sigmoid scores.
ALIGNED = replace(
    MODERN,
    name="aligned",
    learning_rate=3e-3,
    backbone_lr_factor=0.05,
    assignment="task_aligned",
    iou_threshold=0.5,
    mining="none",
    localisation_loss="giou",
    localisation_weight=2.0,
    confidence_loss="varifocal",
    box_scales="model",
)
RECIPES = {"aligned": ALIGNED, "caffe": CAFFE, "modern": MODERN, "multibox": MULTIBOX}


MOBILENETS = ("mobilenetv1", "mobilenetv2", "mobilenetv3")
"""Backbones that are light also under heads that are not separable, as TensorFlow's."""


def recipe_for(name: str | None, spec: ModelSpec) -> Recipe:
    """The named recipe, or the better one for this model, with the learning rates that suit the model.

    The paper's rates are for VGG-16, trained for 120,000 steps. The light models train for some thousand steps on
    small sets. Their new layers have batch normalisation and bear a high rate; their backbone has it folded in, its
    gradients are ten times as long, and a high rate destroys what was pretrained. Hence a high rate, a small
    `backbone_lr_factor`, clipping, a warm-up and a cosine (`docs/results.md`: the figures, on train -> val).

    `modern` was measured on the light models alone, and only theirs differ from the paper's scales. Most of its gain is
    the lower IoU threshold (three times as many default boxes match) and smaller default boxes.

    Raises:
        UnknownNameError: with the nearest names.
    """
    light = spec.separable or spec.backbone in MOBILENETS
    if name is None:
        name = (
            "aligned"
            if spec.is_quality_aware
            else "multibox"
            if spec.class_agnostic
            else "modern"
            if light
            else "caffe"
        )
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    recipe = RECIPES[name]
    if spec.separable and name == "caffe":
        return replace(
            recipe,
            learning_rate=0.05,
            backbone_lr_factor=0.02,
            grad_clip_norm=10.0,
            schedule="cosine",
            warmup_steps=100,
            batch_size=16,
        )
    if light and name != "caffe":
        return replace(recipe, learning_rate=3e-3, backbone_lr_factor=0.05)
    return recipe


def migrate_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as plain values, of any version, under today's names (`OLD_NAMES`); what is not known stays."""
    renamed = {**LATER, **{OLD_NAMES.get(name, name): value for name, value in values.items()}}
    for name, new_values in OLD_VALUES.items():
        if isinstance(renamed.get(name), str):
            renamed[name] = new_values.get(renamed[name], renamed[name])
    return renamed


def flat_values(recipe: Recipe) -> dict[str, Any]:
    """Every setting of a recipe by the name that `--set` knows: `batch_size`, `augment.hue_delta`."""
    own = {field.name: getattr(recipe, field.name) for field in fields(recipe) if field.name not in {"name", "augment"}}
    return own | {f"augment.{field.name}": getattr(recipe.augment, field.name) for field in fields(AugmentSettings)}


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values, all put in place at once.

    Raises:
        RequestError: the values do not go together, or one cannot be.
    """
    augment = {name.removeprefix("augment."): value for name, value in values.items() if name.startswith("augment.")}
    own = {name: value for name, value in values.items() if not name.startswith("augment.")}
    if augment:
        own["augment"] = replace(recipe.augment, **augment)
    return replace(recipe, **own)
