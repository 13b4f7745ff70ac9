"""Mixed precision: the layers that cost the most accuracy at a low precision stay at a higher one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from singleshot.errors import VerificationError

Files = Mapping[str, bytes]

PARTS = ("expand", "depthwise", "project", "pointwise")
"""Convolutions of one block; a block has one precision."""
USE = "@"
"""Before the number of a use, from the second on, in the name of a layer that several maps share."""


@dataclass(frozen=True, eq=False)
class MixedPrecision:
    """An export within the allowed drop of mAP.

    Attributes:
        files: the engine's files.
        blocks: blocks at the higher precision, the most harmful first.
        map_after: mAP of the export, 0..1.
    """

    files: Files
    blocks: tuple[str, ...]
    map_after: float


def layers_by_block(layers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The layers of each block: `heads.location.last` has `heads.location.last.depthwise` and `.pointwise`.

    All uses of a shared layer belong to one block.
    """
    blocks: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        path = layer.partition(USE)[0]
        name, _, part = path.rpartition(".")
        block = name if part in PARTS else path
        blocks[block] = (*blocks.get(block, ()), layer)
    return blocks


def choose_high_precision(
    layers: Sequence[str],
    *,
    min_map: float,
    build: Callable[[Sequence[str]], Files],
    error: Callable[[Sequence[str]], float],
    mean_ap: Callable[[Files], float],
    on_stage: Callable[[str], None],
) -> MixedPrecision:
    """The export with 0, 1, 2, 4 ... up to half of all blocks at the higher precision, the first to reach `min_map`.

    Blocks are taken in the order in which each, alone at the higher precision, lowers the error of the outputs most.

    Args:
        layers: names of all convolutions.
        min_map: mAP to reach, 0..1.
        build: the export's files with these layers at the higher precision.
        error: distance of the outputs from the source's, with these layers at the higher precision.
        mean_ap: an export's mAP.
        on_stage: called with a few words at the beginning of each stage.

    Raises:
        VerificationError: with half of the blocks at the higher precision the mAP is still too low.
    """
    files = build(())
    map_after = mean_ap(files)
    if map_after >= min_map:
        return MixedPrecision(files, (), map_after)
    blocks = layers_by_block(layers)
    errors: dict[str, float] = {}
    for block, block_layers in blocks.items():
        on_stage(f"mAP {100 * map_after:.1f}%: ranking layers by their error ({len(errors) + 1} of {len(blocks)})")
        errors[block] = error(block_layers)
    ranked = sorted(errors, key=errors.__getitem__)
    count = 1
    while count <= len(ranked) // 2:
        chosen = tuple(ranked[:count])
        on_stage(f"mAP {100 * map_after:.1f}%: {len(chosen)} of {len(ranked)} blocks at a higher precision")
        files = build([layer for block in chosen for layer in blocks[block]])
        map_after = mean_ap(files)
        if map_after >= min_map:
            return MixedPrecision(files, chosen, map_after)
        count *= 2
    raise VerificationError(
        f"mAP {100 * map_after:.1f}% with {count // 2} of {len(ranked)} blocks at a higher precision, at least "
        f"{100 * min_map:.1f}% was asked for; nothing was kept: allow more with --max-map-drop, or take a higher "
        "--precision"
    )
