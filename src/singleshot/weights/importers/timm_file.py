"""A classifier's weights in timm's layout as a base: by name, the classifier's own layers left out."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.ssd import SSD
from singleshot.models.timm_backbone import classifier_names
from singleshot.weights.importers.port import COUNTER

_OURS = "backbone.features."


def from_timm(state: Mapping[str, Tensor], model: SSD, *, origin: str) -> dict[str, Tensor]:
    """Tensors under our names; a state that already has them comes back as it is.

    timm renames the layers of a feature extractor: `stages.0.blocks` of the classifier is `stages_0.blocks` there, or
    `model.stages.0.blocks`. What belongs to the classifier alone keeps its name, as `classifier.fc.weight`, so that
    what is said of the start names it.

    Args:
        state: state dict of the classifier that the model's base is named after, with any number of classes.
        model: on a backbone of timm.
        origin: file, for messages.

    Raises:
        ModelError: the file is of another network; what differs is named.
    """
    if any(name.startswith(_OURS) for name in state):
        return dict(state)
    base = model.spec.backbone
    known = classifier_names(base)
    for name in state:
        if name not in known:
            raise ModelError(f"{origin} is of another network: it has {name}, which {base} has not")
    our_names = {_plain(name.removeprefix(_OURS)): name for name in model.state_dict() if name.startswith(_OURS)}
    renamed = {our_names.get(_plain(name), f"classifier.{name}"): tensor for name, tensor in state.items()}
    for name in our_names.values():
        if name not in renamed and not name.endswith(COUNTER):
            raise ModelError(f"{origin} is of another network: it has no {name.removeprefix(_OURS)}, which {base} has")
    return renamed


def _plain(name: str) -> str:
    """A layer's name as feature extractor and classifier share it."""
    return name.removeprefix("model.").replace(".", "_")
