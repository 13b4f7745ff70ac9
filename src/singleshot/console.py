"""How the program speaks: plain text, neither coloured, wrapped nor read as markup, so that paths stay whole."""

from __future__ import annotations

from rich.console import Console


def results() -> Console:
    """Standard output: what was asked for."""
    return Console(highlight=False, soft_wrap=True, markup=False)


def remarks() -> Console:
    """Standard error: progress, remarks and faults."""
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
