"""Classes of an imported detector: default names, and a smaller detector for some of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from singleshot.data.class_names import COCO_CLASSES, COCO_TO_VOC
from singleshot.errors import ModelError, RequestError, UnknownNameError
from singleshot.models.ssd import SSD
from singleshot.variants import VOC_CLASSES

COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Numbers in COCO's 1 .. 90 that no class has."""
COCO_COUNTS = (len(COCO_CLASSES), len(COCO_CLASSES) + len(COCO_GAPS))
"""COCO's number of classes, without and with the gaps."""


def names_for(num_classes: int, names: Sequence[str] | None, origin: str) -> tuple[str, ...]:
    """Class names of a detector whose file has none.

    Args:
        num_classes: C, with background.
        names: L names from the user. None means VOC's names for 20 classes, COCO's for 80 and for 90 (torchvision
            counts the gaps in COCO's numbers: `unused 12`), else `class 1`, `class 2`, ...
        origin: file, for messages.

    Raises:
        ModelError: another number of names than of classes.
    """
    count = num_classes - 1
    if names is not None:
        if len(names) != count:
            raise ModelError(f"{origin} has {count} classes beside the background, got {len(names)} names")
        return tuple(names)
    if count == len(VOC_CLASSES):
        return VOC_CLASSES
    if count == len(COCO_CLASSES):
        return COCO_CLASSES
    if count == COCO_COUNTS[1]:
        real = iter(COCO_CLASSES)
        return tuple(f"unused {number}" if number in COCO_GAPS else next(real) for number in range(1, count + 1))
    return tuple(f"class {number}" for number in range(1, num_classes))


def cut(model: SSD, keep: Sequence[str]) -> SSD:
    """The detector with only some classes; `voc` alone means the 20 COCO classes of VOC, under VOC's names and order.

    Raises:
        UnknownNameError: a class that the model does not have.
        RequestError: `voc` of a model that was not trained on COCO.
    """
    if list(keep) != ["voc"] or "voc" in model.spec.class_names:
        return keep_classes(model, keep)
    coco_names = {COCO_TO_VOC[name]: name for name in model.spec.class_names if COCO_TO_VOC.get(name)}
    if len(coco_names) < len(VOC_CLASSES):
        raise RequestError(f"to keep VOC's classes, {model.spec.name} would have to know COCO's; name those to keep")
    smaller = keep_classes(model, [coco_names[name] for name in VOC_CLASSES])
    renamed = SSD(replace(smaller.spec, class_names=VOC_CLASSES))
    renamed.load_state_dict(smaller.state_dict())
    return renamed.eval()


@torch.no_grad()
def keep_classes(model: SSD, class_names: Sequence[str]) -> SSD:
    """The detector with only these classes, in this order, in evaluation mode.

    Boxes are as before. Scores are the softmax over background and the classes that are left, so a dropped class's
    probability is shared in proportion (the paper's COCO -> VOC fine-tuning starts like this).

    Raises:
        UnknownNameError: a class that the model does not have.
    """
    for name in class_names:
        if name not in model.spec.class_names:
            raise UnknownNameError("class", name, model.spec.class_names)
    rows = torch.tensor([0, *(1 + model.spec.class_names.index(name) for name in class_names)])
    smaller = SSD(replace(model.spec, class_names=tuple(class_names)))
    state = model.state_dict()
    for name, target in smaller.state_dict().items():
        source = state[name]
        if name.startswith("heads.confidence.") and source.shape != target.shape:
            source = source.unflatten(0, (-1, model.spec.num_classes))[:, rows].flatten(0, 1)
        target.copy_(source)
    return smaller.eval()
