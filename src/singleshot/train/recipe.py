"""How a model is trained: all that the paper's section 3 fixes, as one frozen value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from singleshot.augment.settings import AugmentSettings
from singleshot.errors import RequestError, UnknownNameError
from singleshot.spec import ModelSpec
from singleshot.ssd.loss import LOCATION_LOSSES

SCHEDULES = ("step", "cosine")
NORMALISATIONS = ("worker", "global")
SOLVERS = ("sgd", "adamw")
BOX_SCALES = ("kept", "paper")
MININGS = ("hard", "none")
NOT_NEGATIVE = (
    "warmup_steps", "backbone_rate", "bias_rate", "clip_norm", "weight_decay", "negative_ratio", "localisation_weight",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Solver, loss and augmentation settings.

    Attributes:
        name: `caffe`, `modern` or `multibox`.
        solver: `sgd`, Caffe's, or `adamw`.
        learning_rate: base rate of an update of `batch_size` images.
        schedule: `step` drops by 10 at each of `drops`; `cosine` falls smoothly to 0.
        drops: shares of the run, 0..1, rising: 80k and 100k of the paper's 120k updates.
        warmup_steps: updates over which the rate rises linearly from 0.
        batch_size: images an update.
        accumulate: parts into which an update's images are cut when memory is short; each part is normalised by its
            own matched boxes, as by Caffe's `iter_size`.
        momentum: fraction of the velocity kept.
        weight_decay: pulls weights (not biases) to 0.
        bias_rate: multiplies the rate of biases.
        backbone_rate: multiplies the rate of the pretrained base.
        clip_norm: the gradient of the base, and that of the layers after it, are each shortened to this length; 0
            leaves them.
        overlap_threshold: IoU from which a default box learns a ground-truth box.
        boundary_boxes: whether default boxes that reach outside the image take part; without them it is Caffe's
            `ignore_cross_boundary_bbox`. Detection asks all boxes in either case, as Caffe's does.
        mining: which boxes without an object learn that they are background: `hard`, the worst of them, or `none`: all.
        negative_ratio: mined negatives a positive.
        box_scales: of the default boxes where they fit the data and no trained heads know them: `kept`, or `paper`, see
            `train.box_choice`.
        localisation_loss: `smooth_l1` (eq. 2), `l2`, `giou`, or another of `losses.multibox.LOCATION_LOSSES`.
        localisation_weight: alpha of eq. 1.
        confidence_loss: `softmax` (eq. 3), or `focal`, in which every box takes part whatever `mining` says.
        normalise: by the matched boxes of each process's own images (`worker`, as Caffe) or of all (`global`); the
            same where there is one process.
        label_smoothing: share of a box's class target that is spread over all classes.
        average: fraction that a running mean of the weights keeps of itself at an update; what is validated and kept
            is the mean. 0: the weights themselves.
        fits_data: how far images are scaled, from which overlap boxes learn, and how large an update is follow the
            data, see `train.fitting`.
        augment: the pipeline's settings.
    """

    name: str = "caffe"
    solver: str = "sgd"
    learning_rate: float = 1e-3
    schedule: str = "step"
    drops: tuple[float, ...] = (2 / 3, 5 / 6)
    warmup_steps: int = 0
    batch_size: int = 32
    accumulate: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_rate: float = 2.0
    backbone_rate: float = 1.0
    clip_norm: float = 0.0
    overlap_threshold: float = 0.5
    boundary_boxes: bool = True
    mining: str = "hard"
    negative_ratio: float = 3.0
    box_scales: str = "kept"
    localisation_loss: str = "smooth_l1"
    localisation_weight: float = 1.0
    confidence_loss: str = "softmax"
    normalise: str = "worker"
    label_smoothing: float = 0.0
    average: float = 0.0
    fits_data: bool = False
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("solver", self.solver, SOLVERS),
            ("normalisation", self.normalise, NORMALISATIONS),
            ("box scales", self.box_scales, BOX_SCALES),
            ("location loss", self.localisation_loss, LOCATION_LOSSES),
            ("mining", self.mining, MININGS),
            ("confidence loss", self.confidence_loss, ("softmax", "focal")),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        self._require_numbers()
        if self.label_smoothing and self.confidence_loss != "softmax":
            raise RequestError(f"label smoothing goes with the softmax loss, not with {self.confidence_loss}")
        if self.batch_size < 1 or self.accumulate < 1:
            raise RequestError(f"batch size and parts are 1 or more, got {self.batch_size} and {self.accumulate}")
        if self.batch_size % self.accumulate:
            raise RequestError(f"batch size {self.batch_size} cannot be cut into {self.accumulate} equal parts")

    def _require_numbers(self) -> None:
        for name in ("label_smoothing", "average", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise RequestError(f"{name.replace('_', ' ')} must be from 0 up to 1, got {getattr(self, name)}")
        if not 0 <= self.overlap_threshold <= 1:
            raise RequestError(f"overlap threshold must be 0 to 1, got {self.overlap_threshold}")
        if list(self.drops) != sorted(self.drops) or not all(0 < drop <= 1 for drop in self.drops):
            raise RequestError(f"drops of the rate must be shares of the run, rising, got {self.drops}")
        if not 0 < self.learning_rate < math.inf:
            raise RequestError(f"the learning rate must be above 0, got {self.learning_rate}")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise RequestError(f"{name.replace('_', ' ')} must be 0 or more, got {getattr(self, name)}")

    @property
    def mines(self) -> bool:
        """Whether negatives are mined; else every box without a ground-truth box is one."""
        return self.mining == "hard" and self.confidence_loss != "focal"


CAFFE = Recipe()
MODERN = Recipe(
    name="modern",
    solver="adamw",
    learning_rate=5e-4,
    backbone_rate=0.3,
    bias_rate=1.0,
    weight_decay=0.05,
    schedule="cosine",
    warmup_steps=50,
    clip_norm=10.0,
    batch_size=16,
    overlap_threshold=0.35,
    box_scales="paper",
    average=0.99,
    fits_data=True,
    augment=AugmentSettings(pixels="fast", max_expand_ratio=2.0),
)
# MultiBox, Szegedy et al. 2014: an object has one box, all others are negatives, and their squared errors add up.
MULTIBOX = replace(
    MODERN,
    name="multibox",
    overlap_threshold=1.0,
    mining="none",
    localisation_loss="l2",
    localisation_weight=0.3,
    box_scales="kept",
)
RECIPES = {"caffe": CAFFE, "modern": MODERN, "multibox": MULTIBOX}


def recipe_for(name: str | None, spec: ModelSpec) -> Recipe:
    """The named recipe, or the better one for this model, with the rates that suit the model.

    The paper's rates are for VGG-16, trained for 120,000 updates. The light models train for some thousand updates on
    small sets. Their new layers carry batch normalisation and bear a high rate; their base has it folded in, its
    gradients are ten times as long, and a high rate destroys what it knows. Hence a high rate, a small `backbone_rate`,
    clipping, a warm-up and a cosine (`docs/results.md`: the figures they were chosen by, on train -> val).

    `modern` was measured on the light models alone, and only theirs differ from the paper's scales. Most of its gain is
    the lower overlap from which a default box learns (three times as many boxes do) and smaller default boxes.

    Raises:
        UnknownNameError: with the nearest names.
    """
    if name is None:
        name = "multibox" if spec.class_agnostic else "modern" if spec.separable else "caffe"
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    recipe = RECIPES[name]
    if spec.separable and name == "caffe":
        return replace(
            recipe,
            learning_rate=0.05,
            backbone_rate=0.02,
            clip_norm=10.0,
            schedule="cosine",
            warmup_steps=100,
            batch_size=16,
        )
    if spec.separable:
        return replace(recipe, learning_rate=3e-3, backbone_rate=0.05)
    return recipe
