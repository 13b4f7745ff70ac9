"""From what the user said to a run that is ready to start; whatever is wrong is found here, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.box_search.recall import DefaultBoxRecall
from singleshot.data.loader import Shard
from singleshot.errors import DataError, RequestError
from singleshot.machine import usable_cores
from singleshot.models.own_backbone import BackboneFactory
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.runtime.torch_backend import choose_device
from singleshot.spec import ModelSpec
from singleshot.train.adapt_recipe import facts_of
from singleshot.train.box_choice import ChosenBoxes, choose_boxes
from singleshot.train.checkpoint import newest_settings
from singleshot.train.crowded_images import with_room_for_objects
from singleshot.train.distributed import ALONE, Ranks
from singleshot.train.ema import ModelEMA
from singleshot.train.frozen import freeze_early_layers
from singleshot.train.initial import (
    DEFAULT_WITH_IOU_MATCHING,
    backbone_of,
    base_spec,
    initial_network,
    model_or_start,
    source_of_weights,
    with_trainable_scores,
)
from singleshot.train.optimizer import build_optimizer
from singleshot.train.options import TrainOptions
from singleshot.train.plan import Plan
from singleshot.train.recipe import ALIGNED, Recipe, recipe_for
from singleshot.train.sets import read_sets
from singleshot.train.settings import MOST, Settings, renamed_settings, resolve, with_user_values
from singleshot.train.small_objects import advice_on_small_objects
from singleshot.types import Annotations
from singleshot.weights.bounds import fault_of_name

PRIOR_PROBABILITY = 0.01
"""Of an object, as new heads see it where every box takes part in the loss (Lin et al. 2017, section 4.1)."""


def prepare(
    data: Sequence[str],
    options: TrainOptions,
    ranks: Ranks = ALONE,
    *,
    base: ModelSpec | None = None,
    recipe: Recipe | None = None,
) -> Plan:
    """Read the data, choose the default boxes, resolve the settings, build the network and its optimizer.

    Args:
        data: sets to train on.
        options: what the user said.
        ranks: the processes of the run; every one prepares the same plan.
        base: the architecture, where no name or folder stands for it; its classes follow the data.
        recipe: instead of the one that the options name; they still override it.

    Raises:
        RequestError, DataError, ModelError, MachineError: before anything has been written.
    """
    _require_options(data, options)
    shard = ranks.shard(options.part)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = _device(options.device, ranks)
    base, factory = _architecture(options, base)
    train_set, val_set, notes = read_sets(data, options, class_agnostic=base.class_agnostic)
    base, scores_note = _with_classes(base, train_set.class_names)
    base, room = with_room_for_objects(base, train_set)
    source = source_of_weights(base, init=options.init, model=options.model)
    recipe = recipe or recipe_for(options.recipe, base)
    if source is None:  # no pretrained weights that a high learning rate could spoil
        recipe = replace(recipe, backbone_lr_factor=1.0, frozen_stride=0)
    boxes, advice = _default_boxes(base, train_set, with_user_values(recipe, options), options, source, factory)
    settings = resolve(recipe, options, facts_of(train_set, boxes.recall))
    recipe = settings.recipe
    _require_scores(recipe, base)
    prior = None if recipe.mines else PRIOR_PROBABILITY
    start = initial_network(boxes.spec, source, seed=options.seed, object_probability=prior, backbone=factory)
    model = start.network.to(device)
    freeze_early_layers(model, recipe.frozen_stride)
    _require_equal_parts(recipe, model, len(train_set), ranks, shard)
    _require_memory(recipe, model.spec, ranks)
    autocast = compute_type(options.precision, device)
    plan = Plan(
        data=tuple(data),
        options=options,
        settings=settings,
        train_set=train_set,
        val_set=val_set,
        model=model,
        optimizer=build_optimizer(model, recipe, model.backbone),
        ema=ModelEMA(model, recipe.ema_decay) if recipe.ema_decay else None,
        augmentation=CaffeAugmentation(base.input_size_hw, base.preprocess.mean_rgb, recipe.augment),
        device=device,
        autocast=autocast,
        ranks=ranks,
        shard=shard,
        workers=default_workers(ranks.local_world) if options.workers is None else options.workers,
        notes=(
            *notes,
            *scores_note,
            *room,
            *renamed_settings(options),
            *_summary(model, start.note, settings, device, autocast),
        ),
        box_recall=(*boxes.lines, *advice),
        start_learnt=start.learnt,
        backbone=factory,
    )
    plan.batches_ahead()  # refuses a machine without room for them
    return plan


def _default_boxes(
    base: ModelSpec,
    train_set: Annotations,
    recipe: Recipe,
    options: TrainOptions,
    source: Path | None,
    factory: BackboneFactory | None,
) -> tuple[ChosenBoxes, tuple[str, ...]]:
    """The run's default boxes, and advice where no default box fits the small objects; none for a run that goes on."""
    map_sizes_hw = partial(grid_sizes, backbone=factory)
    choose = partial(choose_boxes, scales=recipe.box_scales, source=source, map_sizes_hw=map_sizes_hw)
    begun = newest_settings(options.out / "checkpoints") if options.resume else {}
    boxes = choose(base, train_set, choice=options.boxes, resumed=begun.get("model"))

    def fitted_recall(spec: ModelSpec, annotations: Annotations) -> DefaultBoxRecall:
        return choose(spec, annotations, choice="adapt").recall

    if begun or base.is_quality_aware:
        return boxes, ()
    return boxes, advice_on_small_objects(base, train_set, boxes.recall, fitted_recall)


def _architecture(options: TrainOptions, base: ModelSpec | None) -> tuple[ModelSpec, BackboneFactory | None]:
    """The architecture, unless it is given, and what makes its backbone where that is the user's own."""
    backbone = backbone_of(options.backbone)
    model = model_or_start(options.model, options.init, backbone=options.backbone)
    if model is None and _asks_for_iou_matching(options):
        model = DEFAULT_WITH_IOU_MATCHING
    base = base or base_spec(model, options.input_size, backbone=backbone, fusion=options.fusion)
    return base, None if isinstance(backbone, str) else backbone


def _asks_for_iou_matching(options: TrainOptions) -> bool:
    """Whether what the user said goes with default boxes that match by IoU, and not with the default model."""
    other_recipe = options.recipe not in {None, ALIGNED.name}
    return other_recipe or options.boxes != "auto" or options.fusion is not None or options.backbone is not None


def _with_classes(base: ModelSpec, class_names: tuple[str, ...]) -> tuple[ModelSpec, list[str]]:
    """The architecture with the data's classes, and a note where its class scores become a softmax.

    Raises:
        DataError: a name that no model could be stored with; found before anything is learnt.
    """
    for name in class_names:
        if (fault := fault_of_name(name)) is not None:
            raise DataError(f"{fault}; rename it in the data")
    spec = with_trainable_scores(replace(base, class_names=class_names))
    scores = base.postprocess.scores
    note = [f"class scores: a softmax from now on, {base.name} has a {scores} of each"]
    return spec, note if scores != spec.postprocess.scores else []


def default_workers(processes: int = 1) -> int:
    """The cores this process may use, shared with others, less one for the network; at least 1, at most 8."""
    return max(1, min(8, usable_cores() // processes - 1))


def _summary(
    model: SSD, origin: str, settings: Settings, device: torch.device, autocast: torch.dtype | None
) -> list[str]:
    """What is trained and how, and what differs from the recipe."""
    spec, recipe = model.spec, settings.recipe
    return [
        f"{spec.name}, {spec.input_size_hw[1]}x{spec.input_size_hw[0]} input, {len(spec.class_names)} classes, "
        f"{len(model.default_boxes)} default boxes; {origin}",
        f"recipe {recipe.name}: {settings.steps} steps of {recipe.batch_size} images, learning rate "
        f"{recipe.learning_rate:g} ({recipe.schedule}), {'bf16' if autocast else 'fp32'} on {device.type}",
        *settings.changes(),
    ]


def _require_options(data: Sequence[str], options: TrainOptions) -> None:
    if not data:
        raise RequestError("which data? Give a folder or file: ssd train DATA")
    for name, least in (("threads", 1), ("workers", 0), ("checkpoint_every", 1), ("patience", 1)):
        value = getattr(options, name)
        if value is not None and not least <= value <= MOST:
            raise RequestError(f"--{name.replace('_', '-')} is {least} or more (at most {MOST:,}), got {value}")
    if options.validate_every is not None and not 0 < options.validate_every <= MOST:
        raise RequestError(f"--validate-every is a number of epochs above 0, got {options.validate_every:g}")
    if not 0 <= options.seed < 2**63:
        raise RequestError(f"--seed is between 0 and {2**63 - 1}, got {options.seed}")


def _require_scores(recipe: Recipe, spec: ModelSpec) -> None:
    """Refuse a recipe for other class scores than the model has."""
    if (recipe.assignment == "task_aligned") == spec.is_quality_aware:
        return
    has = "sigmoids, one default box a cell" if spec.is_quality_aware else "a softmax"
    raise RequestError(
        f"recipe {recipe.name} with assignment {recipe.assignment} does not go with {spec.name}, whose class scores "
        f"are {has}: leave --recipe and --set assignment out"
    )


def _require_equal_parts(recipe: Recipe, model: SSD, images: int, ranks: Ranks, shard: Shard) -> None:
    """Refuse a batch that cannot be cut evenly, or into parts too small to normalise over, and too small a set.

    A map of one cell has one value an image: nothing could be normalised over a single image.
    """
    parts = recipe.accumulate * ranks.world
    if recipe.batch_size % parts:
        raise RequestError(
            f"a batch of {recipe.batch_size} images cannot be cut into {recipe.accumulate} x {ranks.world} equal "
            "parts (--accumulate x processes): give a --batch-size that can"
        )
    normalises = any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    if recipe.batch_size == parts and normalises and (1, 1) in model.map_sizes_hw:
        raise RequestError(
            f"{model.spec.name} normalises over a batch, and its last map has one cell: give it two images at a "
            "time, by a larger --batch-size or a smaller --accumulate"
        )
    if images < shard.parts:
        raise RequestError(f"{images} images cannot be cut into {shard.parts} parts")


def _require_memory(recipe: Recipe, spec: ModelSpec, ranks: Ranks) -> None:
    """Refuse a batch whose images alone, as float32, are larger than the machine's memory.

    Such a batch would fill the memory before its first step.
    """
    if not hasattr(os, "sysconf"):
        return  # Windows
    height, width = spec.input_size_hw
    images = recipe.batch_size // (recipe.accumulate * ranks.world)
    needed = images * height * width * 3 * 4 * ranks.local_world
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise RequestError(
            f"{images:,} images of {width}x{height} at once take {needed / 2**30:,.0f} GiB, and this machine has "
            f"{memory / 2**30:.0f}: give a smaller --batch-size, or --accumulate"
        )


def _device(name: str, ranks: Ranks) -> torch.device:
    device = choose_device(name)
    return torch.device("cuda", ranks.local_rank) if device.type == "cuda" and ranks.world > 1 else device


def compute_type(name: str, device: torch.device) -> torch.dtype | None:
    """The network's arithmetic by what `--precision` says; None for float32. Raises RequestError: another name."""
    if name not in {"auto", "fp32", "bf16"}:
        raise RequestError(f"--precision is auto, fp32 or bf16, got {name!r}")
    if name == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_multiplies_bf16()
        return torch.bfloat16 if native else None
    return torch.bfloat16 if name == "bf16" else None


def _cpu_multiplies_bf16() -> bool:
    capabilities = torch.backends.cpu.get_cpu_capability()
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check()) if check is not None and "AVX512" in capabilities else False
