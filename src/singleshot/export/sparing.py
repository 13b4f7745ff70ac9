"""Layers that lose too much at a low precision stay at a higher one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from singleshot.errors import VerificationError

Files = Mapping[str, bytes]


PARTS = ("expand", "depthwise", "project", "pointwise")
"""Convolutions of one block, which is spared as a whole."""


@dataclass(frozen=True, eq=False)
class Spared:
    """An export that loses little enough.

    Attributes:
        files: the engine's.
        blocks: what stays at the higher precision, the most harmful first.
        after: its mAP, 0..1.
    """

    files: Files
    blocks: tuple[str, ...]
    after: float


def blocks(layers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The layers of each block: `heads.location.last` has `heads.location.last.depthwise` and `.pointwise`."""
    found: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        name, _, part = layer.rpartition(".")
        block = name if part in PARTS else layer
        found[block] = (*found.get(block, ()), layer)
    return found


def spare(
    layers: Sequence[str],
    *,
    least: float,
    build: Callable[[Sequence[str]], Files],
    error: Callable[[Sequence[str]], float],
    mean_ap: Callable[[Files], float],
    on_stage: Callable[[str], None],
) -> Spared:
    """The export with the fewest blocks spared, of 0, 1, 2, 4 ... up to half of all, whose mAP is high enough.

    Blocks are spared in the order in which each, spared alone, lessens the error of the network's results.

    Args:
        layers: names of all convolutions.
        least: mAP that is high enough, 0..1.
        build: the export's files with these layers at the higher precision.
        error: how far the results of an export with these layers spared lie from its source's.
        mean_ap: an export's mAP.
        on_stage: called with a few words at the beginning of each stage.

    Raises:
        VerificationError: with half of the blocks spared the mAP is still too low; more would not be worth the name.
    """
    files = build(())
    after = mean_ap(files)
    if after >= least:
        return Spared(files, (), after)
    of_blocks = blocks(layers)
    errors: dict[str, float] = {}
    for block, its_layers in of_blocks.items():
        on_stage(f"mAP {100 * after:.1f}%: looking for the layers that hurt ({len(errors) + 1} of {len(of_blocks)})")
        errors[block] = error(its_layers)
    ranked = sorted(errors, key=errors.__getitem__)
    count = 1
    while count <= len(ranked) // 2:
        chosen = tuple(ranked[:count])
        on_stage(f"mAP {100 * after:.1f}%: sparing {len(chosen)} of {len(ranked)} blocks")
        files = build([layer for block in chosen for layer in of_blocks[block]])
        after = mean_ap(files)
        if after >= least:
            return Spared(files, chosen, after)
        count *= 2
    raise VerificationError(
        f"mAP {100 * after:.1f}% with {count // 2} of {len(ranked)} blocks spared, at least {100 * least:.1f}% was "
        "asked for; nothing was kept: allow more with --most-lost, or take a higher --precision"
    )
