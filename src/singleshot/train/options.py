"""What a user may say about a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@dataclass(frozen=True)
class TrainOptions:
    """Everything has a useful default; None is what was left out: as the recipe or the data say.

    Attributes:
        model: architecture or model folder; left out: the shipped model's architecture.
        recipe: `caffe`, the paper's, `modern`, or `multibox`; left out: `multibox` for class-agnostic models, `modern`
            for light ones, on which it is better, and `caffe` for the others.
        epochs: passes over the training set; left out, and --iterations, too: 30, and more on small sets.
        iterations: updates, instead of epochs.
        train_split: split to train on, or one a data set, separated by commas; left out: the set's own.
        val_split: split to validate on, or one a data set; `none` for no validation; left out: the set's own, else a
            fifth is held out.
        classes: learn only these, separated by commas: objects of others are background; left out: all.
        init: weights to start from: a model folder, a safetensors or .npz file of a base, or `none`.
        device: `auto`, `cpu`, `cuda`.
        workers: processes that prepare images; left out: the cores less one, eight at most.
        checkpoint_every: updates between two checkpoints; left out: an epoch.
        validate_every: epochs between two validations; left out: such that there are some thirty.
        patience: stop when so many validations in a row were no better than the best; left out: never.
        out: the run's folder.
        seed: of weights, order and augmentation.
        resume: go on from the folder's newest checkpoint.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the processor multiplies it natively.
        learning_rate: overrides the recipe's.
        schedule: `step` or `cosine`, overrides the recipe's.
        warmup: updates of linear warm-up, overrides the recipe's.
        batch_size: images an update; left out: the recipe's, and fewer on small sets.
        find_rate: only search for the learning rate: a hundred updates whose rate rises until the loss does.
        accumulate: parts an update is cut into when memory is short, overrides the recipe's.
        backbone_lr_factor: factor on the learning rate of the pretrained base, overrides the recipe's.
        grad_clip_norm: greatest norm of the gradients of the backbone and of the new layers each, overrides the
            recipe's; 0 disables.
        input_size: `WxH` of the network input.
        backbone: `timm:NAME`: a feature extractor of timm (`pip install 'singleshot[backbones]'`) in place of the
            model's base; `--init` then takes weights of timm's classifier of that name, as safetensors.
        fusion: enrich fine maps by coarse ones: `concat` or `sum` (Feature-Fused SSD), or `top-down` (RetinaNet).
        boxes: `auto` adapts the default boxes to the data where they fit fewer than a third of a class (two fifths
            where they stand on the paper's scales), `adapt` wherever they miss some, `keep` leaves them; or the JSON
            file of `ssd boxes`, for the boxes designed there.
        part: of several machines, this one holds only a part of the training images: `2/4` for the second, sixth,
            tenth ... of them (docs/scale.md).
        threads: of torch on the CPU; left out: all cores.
        settings: any other setting of the recipe as NAME=VALUE, repeatable: `--set augment.max_expand_ratio=2`.
    """

    model: str | None = None
    recipe: str | None = None
    epochs: float | None = None
    iterations: int | None = None
    train_split: str | None = None
    val_split: str | None = None
    classes: str | None = None
    init: str | None = None
    device: str = "auto"
    workers: int | None = None
    checkpoint_every: int | None = None
    validate_every: float | None = None
    patience: int | None = None
    out: Path = Path("runs/train")
    seed: int = 0
    resume: Annotated[bool, Parameter(negative=())] = False
    precision: str = "auto"
    learning_rate: float | None = None
    schedule: str | None = None
    warmup: int | None = None
    batch_size: int | None = None
    find_rate: Annotated[bool, Parameter(negative=())] = False
    accumulate: int | None = None
    backbone_lr_factor: float | None = None
    grad_clip_norm: float | None = None
    input_size: str | None = None
    backbone: str | None = None
    fusion: str | None = None
    boxes: str = "auto"
    part: str | None = None
    threads: int | None = None
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative=(), show_default=False)] = ()
