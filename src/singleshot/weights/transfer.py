"""Start a model from pretrained weights: what fits is copied, heads of other classes start fresh."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from singleshot.data.class_names import COCO_TO_VOC
from singleshot.errors import ModelError, RequestError, first_of
from singleshot.models.ssd import SSD
from singleshot.spec import TIMM, Preprocess
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.folder import read_folder
from singleshot.weights.importers.classifiers import from_classifier
from singleshot.weights.importers.first_layer import convert_input, input_in_words
from singleshot.weights.importers.port import COUNTER
from singleshot.weights.importers.tensorflow import read_mobilenetv2
from singleshot.weights.importers.timm_file import from_timm

_CLASS_HEADS = "heads.confidence."
_BACKBONE = "backbone."


@dataclass(frozen=True)
class Transfer:
    """Which tensors and classes a model took from a source.

    Attributes:
        kept: tensors copied from the source.
        replaced: tensors that the source has for other classes or in another shape; freshly initialised.
        missing: tensors that the source does not have; freshly initialised.
        unused: tensors of the source that the model does not have.
        classes: classes whose filters were copied, where source and model have different ones.
        new_classes: classes that are learnt afresh, where source and model have different ones.
        remarks: on what was converted, and on what differs.
    """

    kept: tuple[str, ...]
    replaced: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    classes: tuple[str, ...] = ()
    new_classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line: `100 of 104 tensors taken over; classes kept: cat; new: dog`."""
        fresh = len(self.replaced) + len(self.missing)
        parts = [f"{len(self.kept)} of {len(self.kept) + fresh} tensors taken over"]
        if self.classes:
            parts.append(f"classes kept: {first_of(self.classes, 8)}")
        if self.new_classes:
            parts.append(f"new: {first_of(self.new_classes, 8)}" if self.classes else "all classes new")
        parts += self.remarks
        return "; ".join(parts)


@torch.no_grad()
def start_from(
    model: SSD, source: Mapping[str, Tensor], *, origin: str, source_classes: Sequence[str] | None = None
) -> Transfer:
    """Copy every tensor of the source that fits the model; the others keep their fresh values.

    Backbone tensors must fit: a backbone of another architecture, width or normalisation is refused. Extra maps and
    heads may differ. Where the classes differ, the filters of the background and of the classes that both have (see
    `same_classes`) are copied if the number of boxes a cell is the same.

    Args:
        model: freshly initialised.
        source: tensors under our names, of a whole model or of a backbone.
        origin: file or folder of the source, for messages.
        source_classes: class names of the source; None for a backbone.

    Raises:
        ModelError: the source is of another architecture; both sides are named.
    """
    targets = model.state_dict()
    _require_same_backbone(model, targets, source, origin)
    classes = model.spec.class_names
    other_classes = source_classes is not None and tuple(source_classes) != classes
    common = same_classes(classes, source_classes or ()) if other_classes else {}
    kept: list[str] = []
    by_name: list[str] = []
    replaced: list[str] = []
    missing: list[str] = []
    for name, target in targets.items():
        if name not in source:
            missing.append(name)
        elif source_classes is not None and other_classes and _scores_classes(name):
            copied = bool(common) and _copy_by_name(target, source[name], classes, source_classes, common)
            (by_name if copied else replaced).append(name)
        elif source[name].shape != target.shape:
            replaced.append(name)
        else:
            target.copy_(source[name])
            kept.append(name)
    unused = [name for name in source if name not in targets]
    copied_classes = common if by_name else {}
    known = tuple(name if name == theirs else f"{name} ({theirs})" for name, theirs in copied_classes.items())
    new = tuple(name for name in classes if name not in copied_classes) if other_classes else ()
    return Transfer((*kept, *by_name), tuple(replaced), tuple(_weights(missing)), tuple(_weights(unused)), known, new)


def start_from_file(model: SSD, path: Path) -> Transfer:
    """Start a fresh model from whatever weights a path holds, see `start_from`.

    A model folder, a `.npz` of MobileNetV2 (see `importers.tensorflow`), or a `.safetensors` file with tensors under
    our names or of a classifier: timm's where the model's backbone is timm's, else torchvision's or an
    EfficientNet-Lite0. What takes other pixels has its first convolution rewritten for the model's.

    Raises:
        RequestError: no such path, or a kind of file that is not read here.
        ModelError: the weights are of another architecture.
    """
    if path.is_dir():
        folder = read_folder(path)
        tensors = {name: torch.from_numpy(array) for name, array in folder.tensors().items()}
        tensors, remarks = _for_input_of(model, tensors, folder.spec.preprocess, origin=str(path))
        pads, expected = (spec.compatibility.tensorflow_padding for spec in (folder.spec, model.spec))
        if pads != expected:
            sides = ["at the bottom right" if padding else "on all sides" for padding in (pads, expected)]
            remarks = (*remarks, f"it pads strided convolutions {sides[0]}, {model.spec.name} {sides[1]}")
        transfer = start_from(model, tensors, origin=str(path), source_classes=folder.spec.class_names)
        return replace(transfer, remarks=remarks)
    if not path.is_file():
        raise RequestError(f"there are no weights at {path}")
    if path.suffix == ".npz":
        tensors, remarks = _for_input_of(
            model, read_mobilenetv2(path), SSDLITE320_MOBILENETV2.preprocess, origin=str(path)
        )
        return replace(start_from(model, tensors, origin=str(path)), remarks=remarks)
    if path.suffix != ".safetensors":
        raise RequestError(
            f"{path} cannot be a start: give a model folder, a .safetensors or a MobileNetV2 .npz file; other files "
            f"become a model folder by: ssd weights import {path.name} --out DIR"
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no valid safetensors file: {error}") from error
    if model.spec.backbone.startswith(TIMM):
        tensors = from_timm(tensors, model, origin=str(path))
    else:
        whole = model.spec.backbone == "vgg16-full"
        tensors = from_classifier(tensors, model.spec.preprocess, whole=whole, origin=str(path))
    return start_from(model, tensors, origin=str(path))


def _for_input_of(
    model: SSD, tensors: Mapping[str, Tensor], source: Preprocess, *, origin: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors for what the model is fed, and a remark where their first convolution was rewritten for it.

    Raises:
        ModelError: they take another input, and the backbone is of a kind whose first layer cannot take it over.
    """
    target = model.spec.preprocess
    first = next((name for name, layer in model.backbone.named_modules() if isinstance(layer, nn.Conv2d)), "")
    weight = tensors.get(f"{_BACKBONE}{first}.weight")
    if source == target or weight is None or weight.shape[1] != len(target.mean_rgb):
        return dict(tensors), ()
    words = input_in_words(source), input_in_words(target)
    if not model.backbone.FOLDS_PIXELS:
        raise ModelError(
            f"{origin} takes {words[0]}, and {model.spec.name} {words[1]}: start from weights of its input"
        )
    converted = convert_input(tensors, f"{_BACKBONE}{first}", source, target)
    return converted, (f"first convolution rewritten from {words[0]} to {words[1]}",)


def same_classes(here: Sequence[str], there: Sequence[str]) -> dict[str, str]:
    """Our names of the classes that both have, each with theirs.

    The same name, else one that differs in case, spaces, hyphens and underscores alone, or is COCO's word for VOC's
    class. A name that would have several partners has none.

    >>> same_classes(["person", "sofa", "bird"], ["Person", "couch", "stop sign"])
    {'person': 'Person', 'sofa': 'couch'}
    """
    ours, theirs = (Counter(_plain_name(name) for name in names) for names in (here, there))
    by_plain_name = {_plain_name(name): name for name in there}
    pairs = {}
    for name in here:
        plain = _plain_name(name)
        if name in there:
            pairs[name] = name
        elif ours[plain] == theirs[plain] == 1:
            pairs[name] = by_plain_name[plain]
    return pairs


def _plain_name(name: str) -> str:
    folded = _folded(name)
    return _VOC_WORDS.get(folded, folded)


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())


_VOC_WORDS = {_folded(coco): _folded(voc) for coco, voc in COCO_TO_VOC.items() if voc}


def _copy_by_name(
    target: Tensor, source: Tensor, here: Sequence[str], there: Sequence[str], pairs_of_names: Mapping[str, str]
) -> bool:
    """Copy the filters of the background and of common classes; False, with nothing copied, if the shapes differ."""
    cells = [tensor.shape[0] // (1 + len(names)) for tensor, names in ((target, here), (source, there))]
    if cells[0] != cells[1] or target.shape[1:] != source.shape[1:]:
        return False
    pairs = [(0, 0), *((1 + here.index(name), 1 + there.index(other)) for name, other in pairs_of_names.items())]
    into, out_of = ([pair[side] for pair in pairs] for side in (0, 1))
    filters = source.view(cells[1], -1, *source.shape[1:])[:, out_of]
    target.view(cells[0], -1, *target.shape[1:])[:, into] = filters.to(target)
    return True


def _require_same_backbone(
    model: SSD, targets: Mapping[str, Tensor], source: Mapping[str, Tensor], origin: str
) -> None:
    of_backbone = {name: tensor for name, tensor in source.items() if name.startswith(_BACKBONE)}
    here = f"the model {model.spec.name} is a {model.spec.backbone} of width {model.spec.width:g}"
    for name, tensor in of_backbone.items():
        if name not in targets:
            raise ModelError(f"{origin} is of another architecture: it has {name}, but {here} without it")
        if tensor.shape != targets[name].shape:
            raise ModelError(
                f"{origin} is of another architecture: {name} is {tuple(tensor.shape)} there and "
                f"{tuple(targets[name].shape)} here; {here}"
            )
    if not any(name in targets for name in source):
        some = ", ".join(list(source)[:3]) or "nothing"
        raise ModelError(f"{origin} has no tensor that {model.spec.name} knows; it holds {some}")


def _scores_classes(name: str) -> bool:
    """Whether a tensor belongs to the convolutions that have filters for each class."""
    return name.startswith(_CLASS_HEADS) and ".depthwise." not in name


def _weights(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.endswith(COUNTER)]
