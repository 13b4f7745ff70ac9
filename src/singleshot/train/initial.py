"""The network with the weights that a run starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from singleshot.models.ssd import SSD
from singleshot.runtime.shipped import shipped_models
from singleshot.weights.build import start_from_file
from singleshot.weights.folder import read_spec

if TYPE_CHECKING:
    from singleshot.spec import ModelSpec

NO = "none"


@dataclass(frozen=True, eq=False)
class Start:
    """What a run starts from.

    Attributes:
        network: on the CPU, with its weights.
        note: a line that says where the weights come from.
        pretrained: whether the base knows something already.
    """

    network: SSD
    note: str
    pretrained: bool


def initial_network(spec: ModelSpec, *, init: str | None, model: str | None, seed: int) -> Start:
    """A network of this spec with the weights that a run starts from.

    A fresh MobileNet gets batch normalisation: without it, and without pretrained weights, it does not learn.

    Args:
        spec: with the data's classes and boxes.
        init: a model folder, a file of base weights, `none` for fresh weights, or None for the default: the folder
            named by `model`, else shipped weights of the same base, else fresh ones.
        model: what the user named as model.
        seed: of fresh weights.

    Raises:
        RequestError: there is no such file, or it is of a kind that is not read.
        ModelError: weights of another architecture; both sides are named.
    """
    source = _source(spec, init, model)
    if source is None:
        note = "fresh weights: without a pretrained base it needs many more pictures and epochs"
        return Start(SSD(replace(spec, batch_norm=spec.backbone != "vgg16"), seed=seed), note, pretrained=False)
    network = SSD(spec, seed=seed)
    transfer = start_from_file(network, source)
    origin = f"the shipped {source.name}" if source in shipped_models().values() else str(source)
    return Start(network, f"weights from {origin}: {transfer.summary}", pretrained=True)


def _source(spec: ModelSpec, init: str | None, model: str | None) -> Path | None:
    if init == NO:
        return None
    if init is not None:
        return Path(init)
    if model is not None and Path(model).is_dir():
        return Path(model)
    for folder in shipped_models().values():
        shipped = read_spec(folder)
        if (shipped.backbone, shipped.width, shipped.batch_norm) == (spec.backbone, spec.width, spec.batch_norm):
            return folder
    return None
