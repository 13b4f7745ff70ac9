"""How often a model sees a class where there is none of it: images with a detection of a class that they do not hold.

python scripts/false_positives.py MODEL DATA [--split test] [--score 0.5]

DATA is any labelled set. Of one whose classes the model does not know, every detection is a false positive. Box and
place do not count here: a box that fits badly on a class that the image holds is no error of this kind.
"""

from __future__ import annotations

import argparse
from collections import Counter

from singleshot.console import results
from singleshot.data.recognise import open_data
from singleshot.runtime.detector import Detector, detect_in_set


def main() -> None:
    """Detect in the whole set and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--split")
    parser.add_argument("--score", type=float, default=0.5)
    given = parser.parse_args()
    annotations = open_data(given.data, split=given.split)
    by_class: Counter[str] = Counter()
    images = 0
    for index, found in enumerate(detect_in_set(Detector.load(given.model), annotations)):
        held = {annotations.class_names[label] for label in annotations.ground_truth(index).labels}
        sure = found.scores >= given.score
        absent = {name for name, is_sure in zip(found.names, sure, strict=True) if is_sure} - held
        by_class.update(absent)
        images += bool(absent)
    shown = ", ".join(f"{name} {count}" for name, count in by_class.most_common())
    results().print(
        f"{images} of {len(annotations)} images ({images / len(annotations):.1%}) have a detection of {given.score:g} "
        f"or more of a class that is not in them{': ' if shown else ''}{shown}"
    )


if __name__ == "__main__":
    main()
