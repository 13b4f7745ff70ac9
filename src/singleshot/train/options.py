"""What a user may say about a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Group, Parameter

from singleshot.train.recipe import RecipeName, Schedule

FIRST = Group("Most used", sort_key=1)
DATA = Group("Data", sort_key=2)
MODEL = Group("Model", sort_key=3)
LEARNING = Group("Learning (left out: as recipe and data say)", sort_key=4)
LENGTH = Group("Length, validation, checkpoints", sort_key=5)
MACHINE = Group("Machine", sort_key=6)
ASK = Group("Ask, without training", sort_key=7)

Fusion: TypeAlias = Literal["concat", "sum", "top-down"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16"]


def _in(group: Group) -> Parameter:
    return Parameter(group=group, negative=())


@dataclass(frozen=True)
class TrainOptions:
    """Everything has a useful default; None is what was left out: as the recipe or the data say.

    Attributes:
        model: architecture or model folder; left out: ssd320-lite, or ssdlite320-mobilenetv2 where `--recipe`,
            `--boxes`, `--fusion` or `--backbone` ask for what goes with the paper's method.
        epochs: passes over the training set; left out: at most 30, and more on small sets; the run ends early where its
            validations bring nothing more. What is given is kept.
        batch_size: images per step; left out: the recipe's, and fewer on small sets.
        input_size: `WxH` of the network input, or one number for a square.
        classes: learn only these, separated by commas: objects of others are background; left out: all.
        device: `auto`, `cpu`, `cuda`.
        out: the run's folder.
        resume: go on from the folder's newest checkpoint.
        train_split: split to train on, or one a data set, separated by commas; left out: the set's own.
        val_split: split to validate on, or one a data set; `none` for no validation, `held-out` for a fifth of the
            training images; left out: the set's own, else `held-out`.
        part: of several machines, this one holds only a part of the training images: `2/4` for the second, sixth,
            tenth ... of them (docs/scale.md).
        max_megapixels: decode images up to this size; left out, 50.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out: as stored
            where the annotations state the stored size of all of them.
        leave_out_faulty: leave images with faults out, named and counted, instead of refusing to start.
        forget_images: keep no hashes of the training images in the model folder; an evaluation then cannot say that it
            judges a model by what it learnt (docs/data.md).
        init: weights to start from: a model folder (of its architecture, where no model is named), a safetensors or
            .npz file of a backbone, or `none`.
        backbone: `timm:NAME`: a feature extractor of timm (`pip install 'singleshot[backbones]'`) in place of the
            model's backbone; `--init` then takes weights of timm's classifier of that name, as safetensors. Or
            `PACKAGE.MODULE:FUNCTION`, a backbone of your own (docs/settings.md).
        fusion: enrich fine maps by coarse ones: `concat` or `sum` (Feature-Fused SSD), or `top-down` (RetinaNet).
        boxes: `auto` adapts the default boxes to the data where they reach fewer than a third of a class (two fifths
            where they stand on the paper's scales), `adapt` wherever they miss some, `keep` leaves them; or the JSON
            file of `ssd boxes`, for the boxes found there.
        recipe: `caffe` is the paper's; left out: `multibox` for class-agnostic models, `aligned` for `ssd320-lite`,
            `modern` for other light ones, on which it is better, and `caffe` for the others.
        learning_rate: base learning rate of a step.
        schedule: how the learning rate falls: at milestones, or along a cosine.
        warmup: steps of linear warm-up.
        accumulate: parts that the batch of a step is cut into when memory is short.
        backbone_lr_factor: factor on the learning rate of the pretrained backbone.
        grad_clip_norm: greatest norm of the gradient, of the backbone and of the new layers each; 0 disables.
        overrides: any other setting as NAME=VALUE, repeatable, such as `--set augment.max_expand_ratio=2`; `--settings`
            lists them.
        iterations: steps, instead of epochs.
        validate_every: epochs between two validations; left out: such that there are some thirty.
        patience: stop when so many validations in a row were no better than the best; left out: see `--epochs`.
        full_length: do not end early, where the length is not given, either.
        checkpoint_every: steps between two checkpoints; left out: an epoch.
        seed: of weights, order and augmentation.
        workers: processes that prepare images; left out: the cores less one, eight at most.
        threads: of torch on the CPU; left out: all cores.
        precision: of the network's arithmetic; `auto` is bf16 where the processor multiplies it natively, else fp32.
        find_rate: only search for the learning rate: a hundred steps whose rate rises until the loss does.
    """

    model: Annotated[str | None, _in(FIRST)] = None
    epochs: Annotated[float | None, _in(FIRST)] = None
    batch_size: Annotated[int | None, _in(FIRST)] = None
    input_size: Annotated[str | None, _in(FIRST)] = None
    classes: Annotated[str | None, _in(FIRST)] = None
    device: Annotated[str, _in(FIRST)] = "auto"
    out: Annotated[Path, _in(FIRST)] = Path("runs/train")
    resume: Annotated[bool, _in(FIRST)] = False

    train_split: Annotated[str | None, _in(DATA)] = None
    val_split: Annotated[str | None, _in(DATA)] = None
    part: Annotated[str | None, _in(DATA)] = None
    max_megapixels: Annotated[float | None, _in(DATA)] = None
    labels_on: Annotated[Literal["stored", "displayed"] | None, _in(DATA)] = None
    leave_out_faulty: Annotated[bool, _in(DATA)] = False
    forget_images: Annotated[bool, _in(DATA)] = False

    init: Annotated[str | None, _in(MODEL)] = None
    backbone: Annotated[str | None, _in(MODEL)] = None
    fusion: Annotated[Fusion | None, _in(MODEL)] = None
    boxes: Annotated[str, _in(MODEL)] = "auto"

    recipe: Annotated[RecipeName | None, _in(LEARNING)] = None
    learning_rate: Annotated[float | None, _in(LEARNING)] = None
    schedule: Annotated[Schedule | None, _in(LEARNING)] = None
    warmup: Annotated[int | None, _in(LEARNING)] = None
    accumulate: Annotated[int | None, _in(LEARNING)] = None
    backbone_lr_factor: Annotated[float | None, _in(LEARNING)] = None
    grad_clip_norm: Annotated[float | None, _in(LEARNING)] = None
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", group=LEARNING, negative=(), show_default=False)] = ()

    iterations: Annotated[int | None, _in(LENGTH)] = None
    validate_every: Annotated[float | None, _in(LENGTH)] = None
    patience: Annotated[int | None, _in(LENGTH)] = None
    full_length: Annotated[bool, _in(LENGTH)] = False
    checkpoint_every: Annotated[int | None, _in(LENGTH)] = None
    seed: Annotated[int, _in(LENGTH)] = 0

    workers: Annotated[int | None, _in(MACHINE)] = None
    threads: Annotated[int | None, _in(MACHINE)] = None
    precision: Annotated[Precision, _in(MACHINE)] = "auto"

    find_rate: Annotated[bool, _in(ASK)] = False
