"""Cut a trained detector to some of its classes: their filters are kept, all others dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from singleshot.errors import UnknownNameError
from singleshot.models.ssd import SSD

if TYPE_CHECKING:
    from collections.abc import Sequence


@torch.no_grad()
def keep_classes(model: SSD, class_names: Sequence[str]) -> SSD:
    """The detector with only these classes, in this order, in evaluation mode.

    Offsets are as before. Scores are the softmax over background and the classes that are left: what went to a dropped
    class is shared out in proportion (the paper's COCO -> VOC fine-tuning starts so).

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
