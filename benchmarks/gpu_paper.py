"""The paper's SSD300 on VOC2007 by its own recipe, on a GPU, in pieces of some minutes.

python benchmarks/gpu_paper.py DATA --init vgg16.safetensors --out runs/gpu_paper        (again, until it is done)
python benchmarks/gpu_paper.py DATA --init none --width 0.05 --batch-size 4 --steps 3 --device cpu     (tries it)

Table 1's row "SSD300, 07": 68.0 on VOC2007 test, from trainval. Each call measures for some seconds what the loader and
what the network's steps could do alone, goes on from the last checkpoint, and stops in time to save. After the last
step the model is evaluated on --test-split. VGG-16's convolutions come from `scripts/vgg16_of_hed.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from singleshot.commands.train import train_command
from singleshot.console import results
from singleshot.data.recognise import open_data
from singleshot.evaluate.protocols import evaluate
from singleshot.lab.reproduce.tables import table
from singleshot.machine import usable_cores
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.spec import ModelSpec
from singleshot.ssd.tensors import Batch
from singleshot.train.options import TrainOptions
from singleshot.train.plan import Plan, step_batches
from singleshot.train.prepare import prepare
from singleshot.train.recipe import Recipe
from singleshot.train.results import is_finished
from singleshot.train.signals import Stopped
from singleshot.train.step import TrainStep

ROW = "ssd300-first"
SAVING = 30.0
"""Seconds that a piece keeps for its last step and its checkpoint of 210 MB."""
WARM_UP, MEASURED = 5, 40
"""Steps before and while the loader, the network and both together are timed."""


def main() -> None:
    """A piece: measure, train until the time is up, and evaluate where the last step is done."""
    started = time.monotonic()
    given = arguments()
    spec, recipe, options = of_the_paper(given)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; --device cpu tries the script")
    torch.backends.cudnn.benchmark = True
    if is_finished(given.out):
        speeds = None
    else:
        speeds = measure_speeds(given.data, replace(options, out=given.out / "measured"), spec, recipe)
        results().print(told(speeds))
        if not train_until(60 * given.minutes - SAVING, started, given.data, options, spec, recipe):
            return
    write_figures(given, speeds)


def arguments() -> argparse.Namespace:
    """What the user said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--init", required=True, help="weights of VGG-16, or none")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_paper"))
    parser.add_argument("--minutes", type=float, default=9.0, help="of a piece, from start to checkpoint")
    parser.add_argument("--steps", type=int, help="of the whole training; left out: the paper's 60,000")
    parser.add_argument("--train-split", default="trainval")
    parser.add_argument("--test-split", default="test")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=max(1, usable_cores() - 1))
    parser.add_argument("--pixels", choices=("exact", "fast"), default="exact", help="of the augmentation")
    parser.add_argument("--width", type=float, default=1.0, help="of the trunk; below 1 only to try the script")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def of_the_paper(given: argparse.Namespace) -> tuple[ModelSpec, Recipe, TrainOptions]:
    """Network, recipe and options of the row, with what the user changed."""
    row = next(row for row in table("table1").rows if row.key == ROW)
    recipe = row.schedule.recipe
    recipe = replace(recipe, batch_size=given.batch_size, augment=replace(recipe.augment, pixels=given.pixels))
    options = TrainOptions(
        out=given.out,
        init=given.init,
        iterations=row.schedule.steps if given.steps is None else given.steps,
        train_split=given.train_split,
        val_split="none",
        device=given.device,
        workers=given.workers,
        seed=given.seed,
        boxes="keep",
        resume=True,
    )
    return replace(row.spec, width=given.width), recipe, options


def measure_speeds(data: str, options: TrainOptions, spec: ModelSpec, recipe: Recipe) -> dict[str, float]:
    """Images a second of the loader alone, of steps on one batch alone, and of both; the weights are thrown away."""
    plan = prepare([data], options, base=spec, recipe=recipe)
    count = min(MEASURED, plan.steps)
    step = TrainStep(
        plan.model.to(memory_format=torch.channels_last).train(), plan.optimizer, plan.recipe, autocast=plan.autocast
    )
    plan.optimizer.learning_rate = 0.0
    alone, batches = timed_loader(plan, count, None)
    for _ in range(WARM_UP):
        step(batches, step=0)
    began = time.perf_counter()
    for _ in range(count):
        step(batches, step=0)  # reads its loss back, so that nothing is left to be done
    network = count * plan.recipe.batch_size / (time.perf_counter() - began)
    together, _ = timed_loader(plan, count, step)
    return {"loader": alone, "steps": network, "together": together}


def timed_loader(plan: Plan, count: int, step: TrainStep | None) -> tuple[float, list[Batch]]:
    """Images a second of so many batches, with a step on each or without, and the last of them."""
    first = min(WARM_UP, plan.steps - 1)
    began, last = time.perf_counter(), list[Batch]()
    with closing(step_batches(plan, 0, first + count)) as groups:
        for number, last in enumerate(groups):
            if step is not None:
                step(last, step=number)
            if number == first - 1:
                began = time.perf_counter()
    return count * plan.recipe.batch_size / (time.perf_counter() - began), last


def told(speeds: dict[str, float]) -> str:
    """The three speeds in a line, and who waits for whom."""
    share = speeds["together"] / speeds["steps"]
    verdict = "the loader keeps it busy" if share > 0.9 else "it waits for images: more --workers, or --pixels fast"
    return (
        f"loader alone {speeds['loader']:.0f} images/s, steps alone {speeds['steps']:.0f}, together "
        f"{speeds['together']:.0f}: the device works {min(1.0, share):.0%} of the time; {verdict}"
    )


def train_until(
    seconds: float, started: float, data: str, options: TrainOptions, spec: ModelSpec, recipe: Recipe
) -> bool:
    """Train until so long after `started`; whether the last step is done."""
    left = seconds - (time.monotonic() - started)
    if left <= 0:
        raise SystemExit("the piece is over before its first step: more --minutes")
    alarm = threading.Timer(left, os.kill, (os.getpid(), signal.SIGTERM))
    alarm.daemon = True
    alarm.start()
    try:
        train_command([data], options, base=spec, recipe=recipe)
    except Stopped as stop:
        results().print(f"step {stop.step:,} of {options.iterations:,} is saved: call again to go on")
        return False
    finally:
        alarm.cancel()
    return True


def write_figures(given: argparse.Namespace, speeds: dict[str, float] | None) -> None:
    """Evaluate the trained model and write its figures beside the paper's."""
    row = next(row for row in table("table1").rows if row.key == ROW)
    annotations = open_data(given.data, split=given.test_split)
    detector = Detector.load(str(given.out / "last"), device=given.device)
    figures = evaluate(annotations, detect_in_set(detector, annotations, batch_size=32), "voc07").to_json()
    content: dict[str, Any] = {"paper_percent": row.paper["mAP"], "images_per_second": speeds, **figures}
    (given.out / "figures.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    mean_ap = "-" if figures["mAP"] is None else f"{100 * figures['mAP']:.1f}"
    results().print(
        f"VOC07 mAP {mean_ap} on {given.test_split} ({len(annotations)} images); the paper: {row.paper['mAP']}"
    )


if __name__ == "__main__":
    main()
