"""The parts of the light detectors, each trained alike: what it brings, on train -> val.

    python benchmarks/light_detector.py VOC2007 --init mobilenet_v2.npz --out runs/light [ROW ...] [--epochs 4]
    python benchmarks/light_detector.py --table --out runs/light
    ssd compare runs/light/direct/best runs/light/ssd320-lite/best --data VOC2007 --split val     # with an interval

A row that is finished is not trained again. Each leaves a run folder of `ssd train` and `coco.json` of `ssd evaluate`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from singleshot.commands.train import train_command
from singleshot.spec import ModelSpec
from singleshot.train.options import TrainOptions
from singleshot.train.recipe import recipe_for, with_values
from singleshot.variants import SSD320_LITE, SSDLITE320_MOBILENETV2

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True)
class Row:
    """A detector and the settings in which its training differs from its recipe."""

    spec: ModelSpec
    values: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "ssdlite": Row(SSDLITE320_MOBILENETV2),
    "ssdlite, frozen to stride 4": Row(SSDLITE320_MOBILENETV2, {"frozen_stride": 4}),
    "direct": Row(replace(SSD320_LITE, fusion=None, extras=SSDLITE320_MOBILENETV2.extras[:1])),
    "ssd320-lite": Row(SSD320_LITE),
    "backbone rate 0.02": Row(SSD320_LITE, {"backbone_lr_factor": 0.02}),
    "backbone rate 0.12": Row(SSD320_LITE, {"backbone_lr_factor": 0.12}),
    "frozen to stride 8": Row(SSD320_LITE, {"frozen_stride": 8}),
}
"""`direct` has heads on the backbone's maps alone, without the pyramid."""


def train(name: str, options: argparse.Namespace) -> None:
    """Train a row and judge it, unless that was done."""
    folder = options.out / name.replace(", ", "-").replace(" ", "-")
    if (folder / "coco.json").exists():
        return
    row = ROWS[name]
    trained = TrainOptions(
        out=folder, resume=(folder / "checkpoints").is_dir(), init=str(options.init), seed=options.seed,
        train_split="train", val_split="val", epochs=options.epochs, validate_every=options.epochs,
        threads=options.threads, workers=1,
    )  # fmt: skip
    train_command(
        [str(options.data)], trained, base=row.spec, recipe=with_values(recipe_for(None, row.spec), row.values)
    )
    judged = ["evaluate", str(options.data), "--split", "val", "--model", str(folder / "best"), "--protocol", "coco"]
    subprocess.run([sys.executable, "-m", "singleshot", *judged, "--json", str(folder / "coco.json")], check=True)  # noqa: S603


def table(out: Path) -> str:
    """The rows that are finished, in percent."""
    lines = ["| row | " + " | ".join(FIGURES) + " |", "|---" * (1 + len(FIGURES)) + "|"]
    for path in sorted(out.glob("*/coco.json")):
        figures = json.loads(path.read_text())
        lines.append(f"| {path.parent.name} | " + " | ".join(f"{100 * figures[name]:.1f}" for name in FIGURES) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train rows, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="VOC folder with the splits train and val")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {'; '.join(ROWS)}")
    parser.add_argument("--init", type=Path, help="ImageNet weights of MobileNetV2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(options.out))
        return
    if options.data is None or options.init is None or set(options.rows) - set(ROWS):
        parser.error(f"give DATA, --init and rows of: {'; '.join(ROWS)}")
    for name in options.rows or ROWS:
        train(name, options)


if __name__ == "__main__":
    main()
