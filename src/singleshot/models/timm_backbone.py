"""Any feature extractor of timm as a backbone: its maps are named by their strides.

timm is imported only when such a backbone is built. Only its architectures are used, never its downloads of weights:
those come from files that the user gives (`weights.timm_file`).
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.backbone import Backbone
from singleshot.models.depthwise import with_fast_gradients
from singleshot.shapes import Float
from singleshot.spec import TIMM, Preprocess

ALL_NAMES = "python -c 'import timm; print(*timm.list_models())'"


class TimmBackbone(Backbone):
    """Maps of one of timm's networks, which keeps its own layers, its normalisation and their names.

    The weights are set here, as timm sets them. Dropout is off: its random numbers could not be repeated when a run is
    resumed.

    Args:
        taps: maps that are wanted, any of `TAPS`.
        name: `timm:NAME`.
        width: must be 1: timm's networks have the widths that their names say.
        seed: of the starting weights.

    Raises:
        UnknownNameError: timm has no such network; the message names the nearest.
        RequestError: the network cannot be a backbone.
    """

    TAPS = ("stride4", "stride8", "stride16", "stride32")
    LAST = "stride32"
    SMALLEST_BATCH = 1
    HAS_WEIGHTS = True
    FOLDS_PIXELS = False

    def __init__(self, taps: Collection[str], *, name: str, width: float, seed: int) -> None:
        from timm.layers import DropPath

        super().__init__(taps)
        if width != 1:
            raise RequestError(f"{name} has one width: width must be 1, got {width:g}")
        self.features = _network(name, seed=seed, features_only=True)
        about: Any = self.features.feature_info
        strides = [f"stride{stride}" for stride in about.reduction()]
        missing = [tap for tap in self.TAPS if tap not in strides and (tap in self.wanted or tap != self.TAPS[0])]
        if missing:
            raise RequestError(
                f"{name} has no map of {missing[0]}, which this detector needs; it has {_listed(strides)}"
            )
        places = {tap: place for place, tap in enumerate(strides)}  # of equal strides the last, the deepest
        self.places = {tap: places[tap] for tap in self.TAPS if tap in self.wanted}
        self.out_channels = about.channels()[places[self.LAST]]
        settings = _settings(name)
        self.only_size_hw = tuple(settings.input_size[1:]) if settings.fixed_input_size else None
        self.channels_come_last = str(getattr(self.features, "output_fmt", "")).endswith("NHWC")
        with_fast_gradients(self.features)
        for module in self.features.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, DropPath):
                module.drop_prob = 0.0

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and the last, by name."""
        maps = self.features(images)
        by_tap: dict[str, Tensor] = {tap: maps[place] for tap, place in self.places.items()}
        if self.channels_come_last:
            return {tap: x.permute(0, 3, 1, 2) for tap, x in by_tap.items()}
        return by_tap


def timm_preprocess(name: str) -> Preprocess:
    """The preprocessing of a network of timm: RGB, with the mean and deviation of its published weights.

    Args:
        name: `timm:NAME`; where NAME has a tag, such as `resnet18.a1_in1k`, of the weights that it names.

    Raises:
        UnknownNameError: timm has no such network; the message names the nearest.
    """
    settings = _settings(name)
    mean, std = ([round(255 * value, 6) for value in values] for values in (settings.mean, settings.std))
    return Preprocess((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), channel_order="rgb")


def classifier_names(name: str) -> frozenset[str]:
    """Names of all tensors of the classifier that a backbone is part of. Raises as `TimmBackbone`."""
    return frozenset(_network(name, seed=0).state_dict())


def _network(name: str, *, seed: int, features_only: bool = False) -> nn.Module:
    """One of timm's networks with seeded weights, on the CPU; torch's own random state stays as it was."""
    import timm

    _settings(name)  # refuses what timm does not have
    options = {"features_only": True} if features_only else {}
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would set those of GPUs, too
        try:
            network: nn.Module = timm.create_model(name.removeprefix(TIMM), pretrained=False, **options)
        except RuntimeError as error:
            raise RequestError(f"{name} cannot be a backbone: {str(error).splitlines()[0]}") from error
    return network


def _settings(name: str) -> Any:
    """The input settings that timm has for a network.

    Raises:
        UnknownNameError, RequestError: there is no such network.
    """
    import timm
    from timm.models import PretrainedCfg

    network = name.removeprefix(TIMM)
    if not timm.is_model(network):
        near = get_close_matches(network, timm.list_models(), cutoff=0.5)
        if not near:
            raise RequestError(f"timm has no network {network!r}; all names: {ALL_NAMES}")
        raise UnknownNameError("network of timm", network, near)
    try:
        return timm.get_pretrained_cfg(network) or PretrainedCfg()
    except RuntimeError as error:
        known = timm.list_models(f"{network.partition('.')[0]}.*", pretrained=True)
        raise UnknownNameError("network of timm", network, known) from error


def _listed(strides: list[str]) -> str:
    return ", ".join(dict.fromkeys(strides))
