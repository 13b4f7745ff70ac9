"""Start a model from the weights of another one: keep what fits, replace the heads of other classes, and say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.ssd import SSD

_CLASS_HEADS = "heads.confidence."
_BASE = "backbone."
_COUNTER = "num_batches_tracked"  # of batch normalisation; no weight


@dataclass(frozen=True)
class Transfer:
    """What a start from other weights did, by tensor name.

    Attributes:
        kept: copied from the source.
        replaced: in the source, but of other classes or another shape; freshly initialised.
        missing: not in the source; freshly initialised.
        unused: in the source, but not in the model.
        classes: what the source knew and the model keeps, where their classes differ.
        new_classes: what the model learns afresh, where their classes differ.
    """

    kept: tuple[str, ...]
    replaced: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    classes: tuple[str, ...] = ()
    new_classes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line: `kept 104 tensors; classes kept: cat; new: dog`."""
        parts = [f"kept {len(self.kept)} tensors"]
        if self.classes:
            parts.append(f"classes kept: {_some(self.classes)}")
        if self.new_classes:
            parts.append(f"new: {_some(self.new_classes)}" if self.classes else "all classes new")
        if self.replaced:
            parts.append(f"begun afresh because classes or shapes differ: {_places(self.replaced)}")
        if self.missing:
            parts.append(f"begun afresh because the source has none: {_places(self.missing)}")
        if self.unused:
            parts.append(f"not used: {_places(self.unused)}")
        return "; ".join(parts)


@torch.no_grad()
def start_from(
    model: SSD, source: Mapping[str, Tensor], *, origin: str, source_classes: Sequence[str] | None = None
) -> Transfer:
    """Copy every tensor of the source that fits the model; what does not fit keeps its fresh values.

    The base must fit wherever the source has it: a base of another architecture, width or normalisation is refused.
    Extra maps and heads may differ. Where classes differ and some are the same, by name, the filters of these and of
    the background are copied, if there are as many boxes a cell.

    Args:
        model: freshly initialised.
        source: tensors under our names, of a whole model or of a base.
        origin: file or folder of the source, for messages.
        source_classes: class names of the source; where they differ from the model's, class scores are copied by name.

    Raises:
        ModelError: the source is of another architecture; both sides are named.
    """
    targets = model.state_dict()
    _require_same_base(model, targets, source, origin)
    classes = model.spec.class_names
    other_classes = source_classes is not None and tuple(source_classes) != classes
    common = [name for name in classes if name in (source_classes or ())] if other_classes else []
    kept: list[str] = []
    by_name: list[str] = []
    replaced: list[str] = []
    missing: list[str] = []
    for name, target in targets.items():
        if name not in source:
            missing.append(name)
        elif source_classes is not None and other_classes and _scores_classes(name):
            copied = bool(common) and _copy_by_name(target, source[name], classes, source_classes)
            (by_name if copied else replaced).append(name)
        elif source[name].shape != target.shape:
            replaced.append(name)
        else:
            target.copy_(source[name])
            kept.append(name)
    unused = [name for name in source if name not in targets]
    known = tuple(common) if by_name else ()
    new = tuple(name for name in classes if name not in known) if other_classes else ()
    return Transfer((*kept, *by_name), tuple(replaced), tuple(_weights(missing)), tuple(_weights(unused)), known, new)


def _copy_by_name(target: Tensor, source: Tensor, here: Sequence[str], there: Sequence[str]) -> bool:
    """Copy the filters of background and of the classes of both; False, and nothing, where boxes a cell differ."""
    cells = [tensor.shape[0] // (1 + len(names)) for tensor, names in ((target, here), (source, there))]
    if cells[0] != cells[1] or target.shape[1:] != source.shape[1:]:
        return False
    pairs = [(0, 0), *((1 + here.index(name), 1 + there.index(name)) for name in here if name in there)]
    into, out_of = ([pair[side] for pair in pairs] for side in (0, 1))
    filters = source.view(cells[1], -1, *source.shape[1:])[:, out_of]
    target.view(cells[0], -1, *target.shape[1:])[:, into] = filters.to(target)
    return True


def _require_same_base(model: SSD, targets: Mapping[str, Tensor], source: Mapping[str, Tensor], origin: str) -> None:
    of_base = {name: tensor for name, tensor in source.items() if name.startswith(_BASE)}
    here = f"the model {model.spec.name} is a {model.spec.backbone} of width {model.spec.width:g}"
    for name, tensor in of_base.items():
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
    """Whether a tensor belongs to the convolutions whose filters stand for classes."""
    return name.startswith(_CLASS_HEADS) and ".depthwise." not in name


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _weights(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.endswith(_COUNTER)]


def _places(names: Sequence[str]) -> str:
    """Counts by the first two parts of the names: `12 of heads.confidence, 2 of norms.conv4_3`."""
    counts: dict[str, int] = {}
    for name in names:
        place = ".".join(name.split(".")[:2])
        counts[place] = counts.get(place, 0) + 1
    return ", ".join(f"{count} of {place}" for place, count in counts.items())
