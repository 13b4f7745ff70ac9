"""The network that a run starts from: its architecture and its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from singleshot.errors import RequestError
from singleshot.models.own_backbone import BackboneFactory, import_factory, own_name, own_preprocess
from singleshot.models.ssd import SSD, set_prior_probability
from singleshot.models.timm_backbone import timm_preprocess
from singleshot.runtime.find_model import refuse_weight_file, shipped_models
from singleshot.spec import TIMM, ModelSpec, Postprocess
from singleshot.variants import VARIANTS, variant
from singleshot.weights.folder import CONFIG, read_folder, read_spec
from singleshot.weights.learnt import LearntImages
from singleshot.weights.transfer import start_from_file

DEFAULT_MODEL = "ssd320-lite"
DEFAULT_WITH_IOU_MATCHING = "ssdlite320-mobilenetv2"
"""The default where a recipe, default boxes, a fusion or a backbone are asked for that go with the paper's matching."""
LARGEST_SIDE = 8192  # as weights/bounds.py: what is trained can be read again
NO = "none"


@dataclass(frozen=True, eq=False)
class Start:
    """What a run starts from.

    Attributes:
        network: on the CPU, with its weights.
        note: a line that says where the weights come from.
        learnt: the images that they have learnt, where that is known.
    """

    network: SSD
    note: str
    learnt: LearntImages | None = None


def base_spec(
    model: str | None,
    input_size: str | None = None,
    *,
    backbone: str | BackboneFactory | None = None,
    fusion: str | None = None,
) -> ModelSpec:
    """The architecture asked for: a variant's, a model folder's, or the default.

    Args:
        model: name or folder; None is `DEFAULT_MODEL`.
        input_size: `WxH`, or one number for a square.
        backbone: `timm:NAME` or the code of a backbone of the user's own, with its preprocessing. None leaves the
            model's.
        fusion: see `ModelSpec.with_fusion`; None leaves the model's own.

    Raises:
        RequestError, UnknownNameError, ModelError: no such model, or a size that cannot be.
    """
    name = model or DEFAULT_MODEL
    if Path(name).is_file():
        refuse_weight_file(Path(name))
    if name in VARIANTS or not Path(name).is_dir():
        spec = variant(name)
    else:
        folder = read_folder(Path(name))
        folder.require_layers()
        spec = folder.spec
    if isinstance(backbone, str):
        spec = replace(spec.with_backbone(backbone), preprocess=timm_preprocess(backbone))
    elif backbone is not None:
        spec = replace(spec.with_backbone(own_name(backbone)), preprocess=own_preprocess(backbone))
    if fusion is not None:
        spec = spec.with_fusion(fusion)
    if input_size is None:
        return spec
    width, cross, height = input_size.partition("x")
    height = height if cross else width
    if not (width.isdecimal() and height.isdecimal() and 1 <= int(width) <= LARGEST_SIDE >= int(height) >= 1):
        raise RequestError(
            f"--input-size is WIDTHxHEIGHT such as 480x300, or 480 for a square, {LARGEST_SIDE} at most, got "
            f"{input_size!r}"
        )
    return spec.with_input_size(int(height), int(width))


def model_or_start(model: str | None, init: str | None, *, backbone: str | None) -> str | None:
    """What stands for the architecture: the model named, or else the model folder that weights are taken from.

    Args:
        model: name or folder, as `--model` takes it.
        init: what `--init` takes.
        backbone: of `--backbone`; with one, the architecture is not the folder's.
    """
    if model is None and backbone is None and init is not None and (Path(init) / CONFIG).is_file():
        return init
    return model


def with_trainable_scores(spec: ModelSpec) -> ModelSpec:
    """The detector as it is trained here: class scores are a softmax, but for quality-aware ones.

    Whatever they were in the weights' source. Limits and thresholds of a sigmoid's scores go with them: files of
    TensorFlow keep 10 detections an image.
    """
    if spec.postprocess.scores == "softmax" or spec.is_quality_aware:
        return spec
    return replace(spec, postprocess=Postprocess())


def backbone_of(name: str | None) -> str | BackboneFactory | None:
    """What `--backbone` means: `timm:NAME` stays, `PACKAGE.MODULE:FUNCTION` is imported. Raises as `import_factory`."""
    return name if name is None or name.startswith(TIMM) or ":" not in name else import_factory(name)


def source_of_weights(spec: ModelSpec, *, init: str | None, model: str | None) -> Path | None:
    """What a network of this spec starts from; None for fresh weights.

    Args:
        spec: the architecture.
        init: a model folder, a file of backbone weights, `none` for fresh weights, or None for the default: the folder
            named by `model` if it has this backbone, else shipped weights of this architecture, else of the same
            backbone, else fresh ones.
        model: what the user named as model.
    """
    if init == NO:
        return None
    if init is not None:
        return Path(init)
    if model is not None and Path(model).is_dir() and read_spec(Path(model)).backbone == spec.backbone:
        return Path(model)
    for folder in sorted(shipped_models().values(), key=lambda folder: folder.name != spec.name):
        shipped = read_spec(folder)
        if (shipped.backbone, shipped.width, shipped.batch_norm) == (spec.backbone, spec.width, spec.batch_norm):
            return folder
    return None


def initial_network(
    spec: ModelSpec,
    source: Path | None,
    *,
    seed: int,
    object_probability: float | None = None,
    backbone: BackboneFactory | None = None,
) -> Start:
    """A network of this spec with the weights that a run starts from.

    A fresh backbone gets batch normalisation, but for VGG-16, which has it where the spec says so: without it, and
    without pretrained weights, a MobileNet does not learn.

    Args:
        spec: with the data's classes and boxes.
        source: see `source_of_weights`.
        seed: of fresh weights.
        backbone: makes the backbone where it is the user's own, which brings its weights.
        object_probability: with which fresh heads see an object anywhere; None leaves it to their weights.

    Raises:
        RequestError: there is no such file, or it is of a kind that is not read.
        ModelError: weights of another architecture; both sides are named.
    """
    if source is None:
        spec = replace(spec, batch_norm=spec.batch_norm or not spec.backbone.startswith("vgg16"))
    network = SSD(spec, seed=seed, backbone=backbone)
    if object_probability is not None:
        set_prior_probability(network, object_probability)
    if source is None and backbone is not None:
        return Start(network, f"weights of {spec.backbone} as its function set them")
    if source is None:
        return Start(network, "fresh weights: without a pretrained backbone it needs many more images and epochs")
    transfer = start_from_file(network, source)
    origin = f"the shipped {source.name}" if source in shipped_models().values() else str(source)
    learnt = read_folder(source).learnt() if source.is_dir() else None
    return Start(network, f"weights from {origin}: {transfer.summary}", learnt)
