"""Whether `ssd label` puts first what needs correcting: corrections reached after a share of the images.

python benchmarks/label_order.py DATA --split val [--model FOLDER] [--score 0.3]

The corrections of an image are its boxes to move, draw and delete (`evaluate/pre_annotation.py`). The order of `ssd
label` is set beside the best there is (by the corrections themselves); of a random one the mean is the share itself.
Images differ in their number of boxes, so the share of the boxes looked at stands beside that of the images.
"""

from __future__ import annotations

import argparse

import numpy as np

from singleshot.commands.learnt_images import learnt_overlap, paths_of
from singleshot.commands.options import LABEL_SCORE
from singleshot.data.recognise import open_data
from singleshot.evaluate.matching import MatchedDetections
from singleshot.evaluate.pre_annotation import expected_corrections, measure_pre_annotation
from singleshot.runtime.detector import Detector, detect_in_set

SHARES = (0.1, 0.2, 0.3, 0.5)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--split", default=None)
    parser.add_argument("--model", default=None)
    parser.add_argument("--score", type=float, default=LABEL_SCORE)
    options = parser.parse_args()
    annotations = open_data(options.data, split=options.split)
    detector = Detector.load(options.model)
    learnt_overlap(detector.folder, paths_of(annotations), on_note=print)
    detections = detect_in_set(detector, annotations)
    print(measure_pre_annotation(MatchedDetections.of(annotations, detections), score=options.score))
    counts = []
    for index, of_image in enumerate(detections):
        matched = MatchedDetections.of(annotations.subset([index]), [of_image])
        done = measure_pre_annotation(matched, score=options.score)
        counts.append((done.moved + done.drawn + done.deleted, done.boxes + done.deleted))
    corrections, boxes = np.array(counts).T
    expected = np.array([expected_corrections(of_image, score=options.score) for of_image in detections])
    print(f"{corrections.sum()} corrections, {expected.sum():.0f} expected; {len(annotations)} images")
    print(f"{'corrections reached after':28}" + "".join(f"{share:>8.0%}" for share in SHARES) + "   of the")
    for name, worth in (("ssd label", expected), ("best order", corrections.astype(float))):
        order = np.argsort(-worth, kind="stable")
        for what, seen in (("images", np.ones(len(order))), ("boxes", boxes[order])):
            reached = np.interp(SHARES, np.cumsum(seen) / seen.sum(), np.cumsum(corrections[order]) / corrections.sum())
            print(f"{name:28}" + "".join(f"{share:>8.1%}" for share in reached) + f"   {what}")


if __name__ == "__main__":
    main()
