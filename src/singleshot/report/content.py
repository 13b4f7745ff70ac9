"""What a report is about. Every part but the title may be missing; its section is then left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.decode import decode_image
from singleshot.evaluate.evaluation import Evaluation
from singleshot.types import Annotations, Detections


@dataclass(frozen=True)
class RateSearch:
    """A search for the learning rate.

    Attributes:
        rates: that were tried, rising.
        losses: at each.
        suggested: where the loss falls most steeply.
        recipe: the recipe's own.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    suggested: float
    recipe: float


@dataclass(frozen=True, eq=False)
class ReportContent:
    """What a report is about.

    Attributes:
        title: the page's heading.
        command: the command that made it, to repeat it.
        notes: lines for people, such as what was chosen and why.
        showcase: (caption, RGB image) each, shown as they are, such as photographs with their detections drawn.
        box_recall: lines on how well the default boxes fit the ground-truth boxes.
        history: rows of `metrics.jsonl`: training rows with step, epoch, loss, loss_location, loss_confidence,
            learning_rate; validation rows with step, epoch, mAP.
        rate_search: how the loss went as the rate rose.
        evaluation: how good the detections are.
        before: the evaluation to compare with, such as before training.
        annotations: the evaluated images and their ground-truth boxes; with `detections`, the best and worst are shown.
        detections: what was found in each, in the same order.
        configuration: settings by name; values may be nested.
        images_shown: how many of the best, and of the worst.
        open_image: path to RGB array; called for the shown images only.
    """

    title: str
    command: str = ""
    notes: Sequence[str] = ()
    showcase: Sequence[tuple[str, np.ndarray]] = ()
    box_recall: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()
    rate_search: RateSearch | None = None
    evaluation: Evaluation | None = None
    before: Evaluation | None = None
    annotations: Annotations | None = None
    detections: Sequence[Detections] | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    images_shown: int = 6
    open_image: Callable[[Path], np.ndarray] = decode_image
