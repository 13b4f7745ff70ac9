"""How average precision falls with the overlap asked for, and how much of what a model is sure of has no label.

python scripts/ap_by_overlap.py MODEL DATA --split val

VOC12's AP. Where it is far from 1 at an overlap of 0.3 although nearly all labels are found, labels are missing.
"""

from __future__ import annotations

import argparse

import numpy as np

from singleshot.commands.evaluate import detect_known
from singleshot.console import remarks, results
from singleshot.data.recognise import open_data
from singleshot.evaluate.protocols import evaluate_voc
from singleshot.runtime.detector import Detector

SURE = 0.5
"""The score from which a detection counts as sure."""


def main() -> None:
    """Detect once, judge at each overlap."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--split", required=True)
    given = parser.parse_args()
    annotations = open_data(given.data, split=given.split)
    detections = detect_known(Detector.load(given.model), annotations, on_note=remarks().print)
    for overlap in np.arange(3, 10) / 10:
        judged = evaluate_voc(annotations, detections, protocol="voc12", iou_threshold=float(overlap))
        for name, curve in judged.curves.items():
            sure = int((curve.scores > SURE).sum())
            right = round(float(curve.precision[sure - 1]) * sure) if sure else 0
            results().print(
                f"overlap {overlap:.1f}  {name:>16}  AP {judged.per_class[name]:.3f}  found {curve.recall.max():.1%}  "
                f"surer than {SURE}: {right} right, {sure - right} not"
            )


if __name__ == "__main__":
    main()
