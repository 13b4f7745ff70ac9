"""Source maps fused with coarser ones: Feature-Fused SSD (Cao et al. 2017) and the top-down pathway of RetinaNet.

Both add context to the fine maps, which detect small objects. In a separable network all new layers are separable.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.models.extras import Separable
from singleshot.models.layers import ConvBlock, L2Norm, lite_block
from singleshot.shapes import Float
from singleshot.spec import Compatibility, ExtraBlock, Fusion, ModelSpec

Shapes = Mapping[str, tuple[int, int, int]]


CONCAT_SCALES, SUM_SCALES = (10.0, 20.0), (20.0, 20.0)
"""Initial scales of the normalised fine and coarse map (Cao et al. 2017, sections 3.2 and 3.3)."""


class Lifted(nn.Module):
    """A coarse map with the size and channels of a fine one: a deconvolution, or 1x1 and upsampling."""

    def __init__(self, inputs: int, outputs: int, *, factor: int, light: str | None) -> None:
        super().__init__()
        self.light = light is not None
        self.up: nn.Module
        if light is not None:
            self.up = lite_block(inputs, outputs, kernel=1, padding=0, activation="none")
        else:
            self.up = nn.ConvTranspose2d(inputs, outputs, factor, stride=factor)

    def forward(self, x: Float[Tensor, "B C h w"], size_hw: tuple[int, int]) -> Float[Tensor, "B D H W"]:
        """Enlarge to this size; a surplus row or column is cut off."""
        lifted: Tensor = self.up(x)
        if self.light or lifted.shape[2] < size_hw[0] or lifted.shape[3] < size_hw[1]:
            return F.interpolate(lifted, size=size_hw, mode="nearest")
        return lifted[:, :, : size_hw[0], : size_hw[1]]


class FeatureFusion(nn.Module):
    """A coarse map fused with a fine one: concatenated and mixed by 1x1 (`concat`), or added (`sum`).

    Args:
        fine: channels, height and width of the map that is enriched.
        coarse: likewise of the other.
        kind: `concat` or `sum`.
        light: activation of a separable network, with batch normalisation; None for full convolutions and L2
            normalisation.
    """

    def __init__(
        self, fine: tuple[int, int, int], coarse: tuple[int, int, int], *, kind: str, light: str | None
    ) -> None:
        super().__init__()
        channels = fine[0]
        self.kind = kind
        self.lift = Lifted(coarse[0], channels, factor=max(1, round(fine[1] / coarse[1])), light=light)
        self.activation = light or "relu"
        self.fine_norm: nn.Module = nn.Identity()
        self.coarse_norm: nn.Module = nn.Identity()
        self.fine_filter: nn.Module = nn.Identity()
        self.coarse_filter: nn.Module = nn.Identity()
        if light is None:
            self.fine_filter = ConvBlock(channels, channels, activation="none")
            self.coarse_filter = ConvBlock(channels, channels, activation="none")
            scales = CONCAT_SCALES if kind == "concat" else SUM_SCALES
            self.fine_norm, self.coarse_norm = (L2Norm(channels, start=scale) for scale in scales)
        self.mix: nn.Module | None = None
        if kind == "concat" and light is not None:
            self.mix = lite_block(2 * channels, channels, kernel=1, padding=0, activation=light)
        elif kind == "concat":
            self.mix = ConvBlock(2 * channels, channels, kernel=1)

    def forward(self, fine: Float[Tensor, "B C H W"], coarse: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        """The fine map, enriched."""
        lifted = self.coarse_norm(self.coarse_filter(self.lift(coarse, (fine.shape[2], fine.shape[3]))))
        own = self.fine_norm(self.fine_filter(fine))
        if self.mix is not None:
            return self.mix(torch.cat([own, lifted], dim=1))  # type: ignore[no-any-return]
        total = own + lifted
        return F.relu6(total) if self.activation == "relu6" else F.relu(total)


class TopDown(nn.Module):
    """Every map plus all coarser ones (Lin et al. 2017, figure 2): 1x1, add the next coarser one upsampled, smooth.

    All maps come out with the same number of channels.
    """

    def __init__(self, shapes: Shapes, *, channels: int, light: str | None) -> None:
        super().__init__()

        def lateral(inputs: int) -> nn.Module:
            if light is not None:
                return lite_block(inputs, channels, kernel=1, padding=0, activation="none")
            return ConvBlock(inputs, channels, kernel=1, activation="none")

        def smooth() -> nn.Module:
            if light is not None:
                return Separable(channels, channels, ExtraBlock("", 1, 1, padding=1), activation=light)
            return ConvBlock(channels, channels)

        self.lateral = nn.ModuleDict({name: lateral(inputs) for name, (inputs, _, _) in shapes.items()})
        self.smooth = nn.ModuleDict({name: smooth() for name in shapes})

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The fused maps, in the order of the input."""
        smoothed: dict[str, Tensor] = {}
        above: Tensor | None = None
        for name in reversed(list(maps)):
            here = self.lateral[name](maps[name])
            if above is not None:
                here = here + F.interpolate(above, size=here.shape[2:], mode="nearest")
            above = here
            smoothed[name] = self.smooth[name](here)
        return {name: smoothed[name] for name in maps}


class Pyramid(nn.Module):
    """The backbone's maps plus all coarser ones, as TensorFlow's FPN: 1x1, add the next coarser one, smooth.

    Unlike in `TopDown` what goes down is smoothed, the coarsest map is not, and the extra maps go on from that one.
    Nothing is normalised before the sum.

    Args:
        inputs: channels of each of the backbone's maps, fine before coarse.
        channels: of every map afterwards.
        light: activations of a separable network; None for full convolutions.
    """

    def __init__(self, inputs: Mapping[str, int], *, channels: int, light: Compatibility | None) -> None:
        super().__init__()

        def smooth() -> nn.Module:
            if light is None:
                return ConvBlock(channels, channels)
            block = ExtraBlock("", 0, channels, padding=1)
            return Separable(
                channels, channels, block, activation=light.lite_activation, norm=light.lite_norm, bare=True
            )

        self.out_channels = channels
        *finer, self.coarsest = inputs
        self.lateral = nn.ModuleDict({name: nn.Conv2d(count, channels, 1) for name, count in inputs.items()})
        self.smooth = nn.ModuleDict({name: smooth() for name in finer})

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The maps after the sum, by name, fine before coarse."""
        above = self.lateral[self.coarsest](maps[self.coarsest])
        summed: dict[str, Tensor] = {self.coarsest: above}
        for name in reversed(list(self.smooth)):
            here = self.lateral[name](maps[name])
            above = self.smooth[name](here + F.interpolate(above, size=here.shape[2:], mode="nearest"))
            summed[name] = above
        return {name: summed[name] for name in self.lateral}


class PathAggregation(nn.Module):
    """The backbone's maps, each beside what all others know of its place, separable.

    That is a narrow map of all coarser ones, added from top to bottom, and all finer ones, added from bottom to top
    (PANet, Liu et al. 2018). Heads on the narrow maps alone learn classes three times as slowly: what is pretrained
    has to pass through layers that are not.

    Args:
        inputs: channels of each of the backbone's maps, fine before coarse.
        channels: of the narrow maps.
        light: activations of the separable layers.
    """

    KERNEL = 5
    """Of the depthwise filters: large ones cost little, and see more."""

    def __init__(self, inputs: Mapping[str, int], *, channels: int, light: Compatibility) -> None:
        super().__init__()
        activation = light.lite_activation

        def separable(stride: int) -> nn.Module:
            block = ExtraBlock("", 0, channels, kernel=self.KERNEL, stride=stride, padding=self.KERNEL // 2)
            return Separable(channels, channels, block, activation=activation)

        finest, *coarser = inputs
        self.out_channels = channels + inputs[coarser[-1]]
        self.lateral = nn.ModuleDict(
            {
                name: lite_block(count, channels, kernel=1, padding=0, activation=activation)
                for name, count in inputs.items()
            }
        )
        self.down = nn.ModuleDict({name: separable(1) for name in [finest, *coarser[:-1]]})
        self.shrink = nn.ModuleDict({name: separable(2) for name in coarser})
        self.up = nn.ModuleDict({name: separable(1) for name in coarser})

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The backbone's maps with their narrow ones, by name, fine before coarse."""
        lateral = {name: layer(maps[name]) for name, layer in self.lateral.items()}
        *finer, coarsest = lateral
        narrow = {coarsest: lateral[coarsest]}
        above = lateral[coarsest]
        for name in reversed(finer):
            here = lateral[name]
            above = self.down[name](here + F.interpolate(above, size=here.shape[2:], mode="nearest"))
            narrow[name] = above
        below = above
        for name, shrink in self.shrink.items():
            below = self.up[name](narrow[name] + shrink(below))
            narrow[name] = below
        return {name: torch.cat([maps[name], narrow[name]], dim=1) for name in lateral}


class Fused(nn.Module):
    """The fusion that a specification asks for, on its source maps.

    Args:
        spec: with a fusion.
        shapes: channels, height and width of each source map, and of the coarse one.
    """

    def __init__(self, spec: ModelSpec, fusion: Fusion, shapes: Shapes) -> None:
        super().__init__()
        light = spec.compatibility.lite_activation if spec.separable else None
        self.fine, self.coarse = fusion.fine, fusion.coarse
        self.sources = spec.sources
        self.block: nn.Module
        if fusion.kind == "top-down":
            self.block = TopDown({name: shapes[name] for name in spec.sources}, channels=fusion.channels, light=light)
        else:
            self.block = FeatureFusion(shapes[self.fine], shapes[self.coarse], kind=fusion.kind, light=light)

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Source maps after fusion, in order."""
        if isinstance(self.block, TopDown):
            return self.block({name: maps[name] for name in self.sources})  # type: ignore[no-any-return]
        enriched = self.block(maps[self.fine], maps[self.coarse])
        return {name: enriched if name == self.fine else maps[name] for name in self.sources}


def channels_after(fusion: Fusion | None, shapes: Shapes, sources: tuple[str, ...]) -> dict[str, int]:
    """Channels of each source map as the heads see it."""
    if fusion is not None and fusion.kind == "top-down":
        return dict.fromkeys(sources, fusion.channels)
    return {name: shapes[name][0] for name in sources}
