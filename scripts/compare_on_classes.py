"""Whether one model is better than another on some classes of a set: `ssd evaluate --against` compares all of them.

python scripts/compare_on_classes.py MODEL AGAINST DATA --split val --classes bus,car,cat,person,train
"""

from __future__ import annotations

import argparse

from singleshot.commands.evaluate import detect_known
from singleshot.console import remarks, results
from singleshot.data.classes import only_classes
from singleshot.data.recognise import open_data
from singleshot.evaluate.compare import compare
from singleshot.runtime.detector import Detector


def main() -> None:
    """Detect with both, then compare by VOC2007's mAP and by COCO's AP."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("against")
    parser.add_argument("data")
    parser.add_argument("--split", required=True)
    parser.add_argument("--classes", required=True)
    given = parser.parse_args()
    annotations = only_classes(open_data(given.data, split=given.split), given.classes.split(","))
    detections, others = (
        detect_known(Detector.load(name), annotations, on_note=remarks().print) for name in (given.model, given.against)
    )
    for protocol in ("voc07", "coco"):
        results().print(f"{protocol}: {compare(annotations, detections, others, protocol=protocol)}")


if __name__ == "__main__":
    main()
