"""How long the rows of a table take on this machine, in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from singleshot.lab.bench.contest import Contestant, compete
from singleshot.lab.bench.ours import untrained
from singleshot.spec import ModelSpec

PARTS = ("network", "whole")


def milliseconds(
    specs: Mapping[str, ModelSpec], *, threads: int, rounds: int, on_round: Callable[[int], None]
) -> dict[str, dict[str, float]]:
    """Median milliseconds by key and part, batch 1, fp32 on OpenVINO, seeded weights as sure as trained ones.

    Args:
        specs: the rows' networks, at the paper's width.
        threads: cores.
        rounds: measurements of each.
        on_round: called with the number of rounds done.
    """
    contestants = []
    for key, spec in specs.items():
        whole = untrained(spec, name=key, threads=threads)
        works = {part: whole.works[part] for part in PARTS}
        contestants.append(Contestant(key, key, works))
    rows = compete(contestants, rounds, on_round)
    return {row.contestant.name: {part: row.median(part) or 0.0 for part in PARTS} for row in rows}
