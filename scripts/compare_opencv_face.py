"""Compare an imported OpenCV face detector with OpenCV itself, image by image.

    python scripts/compare_opencv_face.py theirs deploy.prototxt res10.caffemodel theirs.json IMAGE...  # OpenCV 4
    python scripts/compare_opencv_face.py ours MODEL_FOLDER theirs.json

The two run in environments of their own: OpenCV 5 reads no Caffe, and singleshot takes OpenCV 5.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

BOX, SCORE, LEAST = 0.005, 0.01, 0.1
"""Largest difference of a coordinate, as a fraction of the image, and of a score; detections below `LEAST` are left."""
SIDE, MEAN_BGR = 300, (104.0, 177.0, 123.0)


def theirs(prototxt: str, caffemodel: str, out: str, *images: str) -> None:
    """Write OpenCV's detections: file -> rows of score, left, top, right, bottom (fractions of the image)."""
    import cv2

    network = cv2.dnn.readNetFromCaffe(prototxt, caffemodel)
    detections = {}
    for image in images:
        resized = cv2.resize(cv2.imread(image), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        network.setInput(cv2.dnn.blobFromImage(resized, 1.0, (SIDE, SIDE), MEAN_BGR))
        detections[image] = network.forward()[0, 0, :, 2:7].tolist()
    Path(out).write_text(json.dumps({"opencv": cv2.__version__, "detections": detections}))


def ours(model: str, file: str) -> bool:
    """Print the largest differences from OpenCV's detections; returns whether they are within the limits."""
    from singleshot import Detector
    from singleshot.decode import decode_image

    detector, stored = Detector.load(model), json.loads(Path(file).read_text())
    boxes, scores, alone = [0.0], [0.0], 0
    for image, rows in stored["detections"].items():
        pixels = decode_image(Path(image))
        detections = detector(pixels)
        height, width = pixels.shape[:2]
        fractions = detections.boxes / np.array([width, height, width, height])
        confident = [row for row in rows if row[0] >= LEAST]
        alone += abs(len(confident) - int((detections.scores >= LEAST).sum()))
        for score, *box in confident:
            apart = np.abs(fractions - np.clip(box, 0, 1)).max(axis=1, initial=0)
            if not len(apart):
                continue
            # Boxes that reach over the image are equal once they are cut to it: the score tells them apart.
            nearest = min(range(len(apart)), key=lambda n: (apart[n] > BOX, abs(detections.scores[n] - score)))
            boxes.append(float(apart[nearest]))
            scores.append(abs(float(detections.scores[nearest]) - score))
    print(
        f"{len(stored['detections'])} images, {len(boxes) - 1} detections of {LEAST:g} or more by "
        f"OpenCV {stored['opencv']}: boxes differ by up to {max(boxes):.2g} of the image, scores by {max(scores):.2g}; "
        f"{alone} without a partner"
    )
    return max(boxes) <= BOX and max(scores) <= SCORE and not alone


if __name__ == "__main__":
    if sys.argv[1] == "theirs":
        theirs(*sys.argv[2:])
    else:
        sys.exit(0 if ours(*sys.argv[2:]) else 5)
