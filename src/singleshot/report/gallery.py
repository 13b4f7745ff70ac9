"""Figures for pages that are not made from a template yet."""

from __future__ import annotations

from html import escape

import numpy as np

from singleshot.report.images import LONGEST_SIDE, figure
from singleshot.shapes import UInt8

__all__ = ["LONGEST_SIDE", "shown_as_it_is"]


def shown_as_it_is(image: UInt8[np.ndarray, "H W 3"], caption: str) -> str:
    """A finished image as a figure."""
    shown = figure(image, caption)
    source = (
        f'<img src="{shown.source}" width="{shown.size_wh[0]}" height="{shown.size_wh[1]}" alt="{escape(caption)}">'
    )
    return f"<figure>{source}<figcaption>{escape(caption)}</figcaption></figure>"
