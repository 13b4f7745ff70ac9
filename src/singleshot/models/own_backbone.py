"""A backbone of one's own: code that the user names, `mypackage.module:factory`; a model folder never names any."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from singleshot.errors import RequestError
from singleshot.models.backbone import Backbone
from singleshot.shapes import Float
from singleshot.spec import OWN, Preprocess

BackboneFactory: TypeAlias = Callable[[], nn.Module]
"""Makes the module, with the weights that it should start from.

The module's `forward(images)` takes (B, 3, H, W) float32 and returns a dict of maps by stride: `stride8`, `stride16`
and `stride32`, each (B, C, H / stride, W / stride) with any number of channels, and `stride4` if it likes. Its
attributes `mean_rgb` and `std_rgb`, three numbers each for pixels of 0..255, are subtracted and divided by; ImageNet's
where it has none.
"""
REQUIRED = ("stride8", "stride16", "stride32")
IMAGENET = Preprocess((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), channel_order="rgb")
_PROBED = 128
"""Side of the image by which the maps are looked at; a multiple of every stride."""


class OwnBackbone(Backbone):
    """The user's module among the layers of a detector.

    Args:
        taps: maps that are wanted, any of `TAPS`.
        name: `own:NAME`, for messages.
        factory: see `BackboneFactory`.
        seed: of random weights that the factory draws from torch.

    Raises:
        RequestError: what the factory makes does not keep the contract; the message names what is wrong.
    """

    TAPS = ("stride4", *REQUIRED)
    LAST = "stride32"
    SMALLEST_BATCH = 1
    HAS_WEIGHTS = True
    FOLDS_PIXELS = False

    def __init__(self, taps: Collection[str], *, name: str, factory: BackboneFactory, seed: int) -> None:
        super().__init__(taps)
        self.network = made_by(factory, name=name, seed=seed)
        channels = _channels(self.network, name)
        for tap in sorted(self.wanted):
            if tap not in channels:
                raise RequestError(
                    f"{name} gives no map {tap}, which this detector needs; it gives {_listed(channels)}"
                )
        self.out_channels = channels[self.LAST]

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and the last, by name."""
        maps = self.network(images)
        return {name: maps[name] for name in self.TAPS if name in self.wanted}


def import_factory(place: str) -> BackboneFactory:
    """The function that `mypackage.module:factory` names; modules of the current folder are found.

    Raises:
        RequestError: there is no such module or function.
    """
    module_name, _, name = place.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(f"--backbone {place}: expected PACKAGE.MODULE:FUNCTION to import; {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not callable(factory):
        raise RequestError(f"--backbone {place} must be a function without arguments, got {type(factory).__name__}")
    return factory  # type: ignore[no-any-return]


def factory_of(backbone: str | BackboneFactory | None) -> BackboneFactory | None:
    """A factory, whether it is given as such or by name. Raises as `import_factory`."""
    return import_factory(backbone) if isinstance(backbone, str) else backbone


def own_name(factory: BackboneFactory) -> str:
    """What a specification calls the backbone of this factory: `own:tiny_net`."""
    return OWN + "".join(letter if letter.isalnum() else "_" for letter in getattr(factory, "__name__", "backbone"))


def own_preprocess(factory: BackboneFactory) -> Preprocess:
    """The preprocessing that the factory's module asks for, else ImageNet's. Raises as `OwnBackbone`."""
    network = made_by(factory, name=own_name(factory), seed=0)
    mean, std = getattr(network, "mean_rgb", IMAGENET.mean_rgb), getattr(network, "std_rgb", IMAGENET.std_rgb)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise RequestError(f"mean_rgb and std_rgb must be three numbers each, std_rgb above 0, got {mean} and {std}")
    return Preprocess(tuple(map(float, mean)), tuple(map(float, std)), channel_order="rgb")  # type: ignore[arg-type]


def made_by(factory: BackboneFactory, *, name: str, seed: int) -> nn.Module:
    """What the factory makes, on the CPU; torch's own random state stays as it was.

    Raises:
        RequestError: it takes arguments, or makes no module.
    """
    with suppress(ValueError):  # some of C have no signature to look at
        try:
            signature(factory).bind()
        except TypeError as error:
            raise RequestError(f"{name} must be a function without arguments: {error}") from error
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        network = factory()
    if not isinstance(network, nn.Module):
        raise RequestError(f"the factory of {name} must make a torch.nn.Module, got {type(network).__name__}")
    return network


@torch.no_grad()
def _channels(network: nn.Module, name: str) -> dict[str, int]:
    """Channels of each map, by a look at one image.

    Raises:
        RequestError: a map is missing, or is not of the size that its name says.
    """
    was_training = network.training
    with torch.device("cpu"):
        maps = network.eval()(torch.zeros(1, 3, _PROBED, _PROBED))
    network.train(was_training)
    if not isinstance(maps, dict):
        raise RequestError(f"{name}: forward must return a dict of maps such as stride16, got {type(maps).__name__}")
    for tap in (*REQUIRED, *(tap for tap in maps if tap not in REQUIRED)):
        if tap not in maps or tap not in OwnBackbone.TAPS:
            raise RequestError(f"{name}: forward must return {_listed(REQUIRED)} (and stride4), got {_listed(maps)}")
        side = _PROBED // int(tap.removeprefix("stride"))
        if maps[tap].dim() != 4 or tuple(maps[tap].shape[2:]) != (side, side):
            shape = tuple(maps[tap].shape)
            raise RequestError(
                f"{name}: of {_PROBED}x{_PROBED} pixels {tap} must be (1, C, {side}, {side}), got {shape}"
            )
    return {tap: x.shape[1] for tap, x in maps.items()}


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
