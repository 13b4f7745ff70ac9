"""Carry the tensors of another project's network over to target, layer by layer, and account for each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from singleshot.errors import ModelError, first_of
from singleshot.models.layers import LITE_NORM_EPSILON
from singleshot.weights.importers.torchvision import fold_norm

_NORM = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"  # of batch normalisation; no weight


class Port:
    """Takes tensors by their foreign names and keeps them under target.

    Attributes:
        state: what was carried over so far, under our names.

    Args:
        source: the foreign state dict.
        origin: its file, for messages.
        what: the kind of network it should be, for messages.
    """

    def __init__(self, source: Mapping[str, Tensor], *, origin: str, what: str) -> None:
        self.source = source
        self.origin = origin
        self.what = what
        self.state: dict[str, Tensor] = {}
        self._left = {name for name in source if not name.endswith(COUNTER)}

    def take(self, name: str) -> Tensor:
        """A tensor of the source, in float32.

        Raises:
            ModelError: there is none of this name.
        """
        if name not in self.source:
            raise ModelError(f"{self.origin} has no {name}, which {self.what} has")
        self._left.discard(name)
        tensor = self.source[name]
        if not tensor.is_floating_point():
            raise ModelError(f"{self.origin}: {name} holds {tensor.dtype}, expected floating-point numbers")
        tensor = tensor.float()
        if not tensor.isfinite().all() or (name.endswith("running_var") and (tensor < 0).any()):
            raise ModelError(f"{self.origin}: {name} holds NaN, infinite or impossible values")
        return tensor

    def plain(self, target: str, original: str) -> None:
        """A convolution with bias that is one with us, too."""
        self.state[f"{target}.weight"] = self.take(f"{original}.weight")
        self.state[f"{target}.bias"] = self.take(f"{original}.bias")

    def block(self, target: str, original: str, norm: str | None = None, *, epsilon: float = 1e-5) -> None:
        """A convolution that is a `ConvBlock` without normalisation here; original is folded in."""
        weight, bias = self._folded(original, norm, epsilon)
        self.state[f"{target}.convolution.weight"], self.state[f"{target}.convolution.bias"] = weight, bias

    def lite(self, target: str, original: str, norm: str | None = None, *, epsilon: float = LITE_NORM_EPSILON) -> None:
        """A convolution that is one of SSDLite's normalised layers here.

        Where the original has none, another epsilon or a bias, all is folded and normalisation here is the identity.
        """
        if norm is not None and epsilon == LITE_NORM_EPSILON and f"{original}.bias" not in self.source:
            weight, parts = self.take(f"{original}.weight"), [self.take(f"{norm}.{part}") for part in _NORM]
        else:
            weight, bias = self._folded(original, norm, epsilon)
            ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
            parts = [ones * (1 + LITE_NORM_EPSILON) ** 0.5, bias, zeros, ones]
        self.state[f"{target}.convolution.weight"] = weight
        self.state |= {f"{target}.norm.{part}": tensor for part, tensor in zip(_NORM, parts, strict=True)}
        self.state[f"{target}.norm.{COUNTER}"] = torch.tensor(0)

    def finished(self) -> dict[str, Tensor]:
        """Everything that was carried over.

        Raises:
            ModelError: something of the source was not.
        """
        if self._left:
            raise ModelError(f"{self.origin} holds {first_of(sorted(self._left), 3)}, which {self.what} does not have")
        return self.state

    def _folded(self, original: str, norm: str | None, epsilon: float) -> tuple[Tensor, Tensor]:
        weight = self.take(f"{original}.weight")
        bias = self.take(f"{original}.bias") if f"{original}.bias" in self.source else None
        if norm is None:
            return weight, torch.zeros(len(weight)) if bias is None else bias
        parts = [self.take(f"{norm}.{part}") for part in _NORM]
        if any(part.shape != weight.shape[:1] for part in parts):
            raise ModelError(f"{self.origin}: {original}.weight is {tuple(weight.shape)}, {norm} is of another size")
        return fold_norm(weight, bias, *parts, epsilon=epsilon)
