"""Average precision at rising IoU thresholds, and how many confident detections have no label.

python scripts/ap_by_overlap.py MODEL DATA --split val

VOC12's AP. Where it is far from 1 at an IoU of 0.3 although nearly all objects are found, labels are missing.
"""

from __future__ import annotations

import argparse

import numpy as np

from singleshot.commands.evaluate import detect_known
from singleshot.console import remarks, results
from singleshot.data.recognise import open_data
from singleshot.evaluate.protocols import evaluate_voc
from singleshot.runtime.detector import Detector

CONFIDENT = 0.5
"""Score above which a detection counts as confident."""


def main() -> None:
    """Detect once, evaluate at each IoU threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--split", required=True)
    given = parser.parse_args()
    annotations = open_data(given.data, split=given.split)
    detections = detect_known(Detector.load(given.model), annotations, on_note=remarks().print)
    for iou in np.arange(3, 10) / 10:
        result = evaluate_voc(annotations, detections, protocol="voc12", iou_threshold=float(iou))
        for name, curve in result.curves.items():
            confident = int((curve.scores > CONFIDENT).sum())
            right = round(float(curve.precision[confident - 1]) * confident) if confident else 0
            results().print(
                f"IoU {iou:.1f}  {name:>16}  AP {result.per_class[name]:.3f}  recall {curve.recall.max():.1%}  "
                f"above {CONFIDENT}: {right} true positives, {confident - right} false positives"
            )


if __name__ == "__main__":
    main()
