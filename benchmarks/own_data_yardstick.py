"""torchvision's SSDLite on a VOC folder, judged by our `ssd evaluate`: the yardstick of the own-data suite.

python benchmarks/own_data_yardstick.py --data DATA/masks --train-split train --test-split val --epochs 18 --out OUT

Runs ../shared/peers/torchvision_ssdlite.py as it is, and writes its detections (of its last
epoch) into OUT/yardstick-SPLIT.json; `ssd evaluate --detections` judges them, as it judges our models. All options but
`--out` are that script's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from own_data import judge, percent

PEER = Path("../shared/peers/torchvision_ssdlite.py")


def load(path: Path) -> ModuleType:
    """The peer's script as a module."""
    specification = importlib.util.spec_from_file_location("torchvision_ssdlite", path)
    if specification is None or specification.loader is None:
        sys.exit(f"there is no {path}")
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
    parser.add_argument("--test-split", default="test")
    options, further = parser.parse_known_args()
    peer: Any = load(PEER)
    written = options.out / f"yardstick-{options.test_split}.json"
    options.out.mkdir(parents=True, exist_ok=True)
    its_evaluate = peer.evaluate

    def evaluate(model: Any, data: Any) -> dict[str, float]:
        recorder = Recorder(model)
        figures: dict[str, float] = its_evaluate(recorder, data)
        written.write_text(json.dumps(document(recorder.detections, data.ids, data.classes)))
        return figures

    peer.evaluate = evaluate
    sys.argv = [str(PEER), "--data", str(options.data), "--test-split", options.test_split, *further]
    start = time.monotonic()
    peer.main()
    seconds = time.monotonic() - start
    figures = judge(options.data, ["--detections", str(written)], options.out / "yardstick", options.test_split)
    (options.out / "yardstick.json").write_text(json.dumps({"seconds": seconds, options.test_split: figures}))
    print(*(f"{name} {percent(value)}" for name, value in figures.items()), f"in {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main()
