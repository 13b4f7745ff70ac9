"""torchvision's SSDLite on a VOC folder, judged by our `ssd evaluate`: the yardstick of the own-data suite.

    python benchmarks/own_data_yardstick.py --data DATA/masks --train-split train --epochs 18 --out RUNS/masks
    python benchmarks/own_data.py table --out RUNS [--split test]

Runs ../shared/peers/torchvision_ssdlite.py as it is; all options but `--out` and `--judged` are its own. What it
detects after its last epoch is written for each of the `--judged` parts, and judged as our models are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from own_data import judge, percent, write_record

PEER = Path("../shared/peers/torchvision_ssdlite.py")


def load(path: Path) -> ModuleType:
    """The peer's script as a module."""
    if not path.is_file():
        sys.exit(f"there is no {path}")
    specification = importlib.util.spec_from_file_location("torchvision_ssdlite", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Recorder:
    """A model that remembers what it detected, in the order of its calls with one image each."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.detections: list[Any] = []

    def eval(self) -> None:
        """As the model's."""
        self.model.eval()

    def __call__(self, images: Any) -> Any:
        """As the model's."""
        results = self.model(images)
        self.detections += results
        return results


def document(detections: Sequence[Any], names: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """Detections of torchvision's (labels from 1 on) in our JSON."""
    images = []
    for name, of_image in zip(names, detections, strict=True):
        columns = zip(*(of_image[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
        rows = [{"box": box, "label": classes[label - 1], "score": score} for box, label, score in columns]
        images.append({"file": f"{name}.jpg", "detections": rows})
    return {"images": images}


def main() -> None:
    """Train, detect, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judged", nargs="+", default=["val", "test"], help="parts to judge it on")
    options, further = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    detections = {split: options.out / f"detections-{split}.json" for split in options.judged}
    peer: Any = load(PEER)
    evaluate = peer.evaluate

    def evaluate_and_write(model: Any, data: Any) -> dict[str, float]:
        for split, path in detections.items():
            part = peer.Voc(data.root, split, data.classes)
            recorder = Recorder(model)
            figures: dict[str, float] = evaluate(recorder, part)
            path.write_text(json.dumps(document(recorder.detections, part.ids, part.classes)))
        return figures

    peer.evaluate = evaluate_and_write
    sys.argv = [str(PEER), "--data", str(options.data), "--test-split", options.judged[-1], *further]
    start, before = time.monotonic(), os.times()
    peer.main()
    after = os.times()
    record: dict[str, Any] = {"train": sys.argv, "seconds": time.monotonic() - start, "resumed": False}
    record["processor"] = sum(after[:4]) - sum(before[:4])
    for split, path in detections.items():
        record[split] = judge(options.data, ["--detections", str(path)], options.out, split)
        print(split, *(f"{name} {percent(value)}" for name, value in record[split].items()), flush=True)
    write_record(options.out, record)


if __name__ == "__main__":
    main()
