"""`ssd demo`: detect on photographs, draw a data set, fine-tune on it, evaluate before and after, and report it all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from singleshot.commands.detect import DetectOptions, detect_files
from singleshot.commands.train import train_command
from singleshot.console import percent, remarks
from singleshot.data.recognise import open_data
from singleshot.decode import decode_image
from singleshot.errors import RequestError
from singleshot.evaluate.protocols import Evaluation, evaluate
from singleshot.lab.demo.drawn_set import SPLITS_DRAWN, Split, draw_set
from singleshot.photographs import TO_DETECT
from singleshot.report.page import ReportContent, write_report
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.train.options import TrainOptions
from singleshot.train.plan import Plan
from singleshot.train.prepare import prepare
from singleshot.train.run_log import read_metrics
from singleshot.train.signals import Stopped
from singleshot.types import Annotations, Detections

MARK = ".ssd-demo"
"""An empty file that says: the demonstration made this folder, and may replace what it made."""
DETECTED, DRAWN, TUNED = "detected", "drawn-set", "fine-tuned"
SMALL_SIDE = 32
"""Objects of less area than a square of this side, in pixels, count as small (COCO's limit)."""

TRAINING = TrainOptions(
    input_size="320x240",
    iterations=300,
    batch_size=8,
    validate_every=5.0,
)
"""150 seconds on two cores: a small input of the images' own proportions, many small steps.

Validation mAP 76, 95 and 96% after 5, 10 and 15 epochs.
"""


@dataclass(frozen=True)
class DemoSettings:
    """What a demonstration does; the tests make it shorter.

    Attributes:
        model: the detector for the photographs, and the weights to start from; None is the shipped one.
        splits: the images to draw.
        training: as for `ssd train`; `out` and, with `model`, `init` are set by the demonstration.
        score: least score of the detections drawn on the photographs.
    """

    model: str | None = None
    splits: Mapping[str, Split] = field(default_factory=lambda: SPLITS_DRAWN)
    training: TrainOptions = TRAINING
    score: float = 0.5


def run_demo(out: Path, settings: DemoSettings | None = None) -> Path:
    """Run the whole demonstration in a folder and return the path of its report.

    Raises:
        RequestError: the folder holds files that are not the demonstration's.
    """
    settings = settings or DemoSettings()
    say = _Log()
    _make_room(out)
    say("1/5  detecting in photographs")
    showcase = _detect_in_photographs(out / DETECTED, settings)
    for caption, _ in showcase:
        say(f"     {caption}")
    say(f"2/5  drawing {sum(split.images for split in settings.splits.values())} labelled images")
    draw_set(out / DRAWN, splits=settings.splits)
    training = replace(settings.training, out=out / TUNED, init=settings.training.init or settings.model)
    test_set = open_data(out / DRAWN, split="test")
    plan = prepare([str(out / DRAWN)], training)
    before, _ = _evaluated(Detector(TorchBackend(plan.model, plan.device), name="before"), test_set)
    say(f"3/5  before: mAP {percent(before.mean_ap)} on {len(test_set)} test images")
    command = training_command(out / DRAWN, training)
    say(f"4/5  {command}")
    try:
        train_command([str(out / DRAWN)], training)
    except Stopped as stopped:
        raise Stopped(stopped.number, stopped.step, advice="ssd demo begins anew") from None
    after, detections = _evaluated(Detector.load(out / TUNED / "best", device=str(plan.device)), test_set)
    say(f"5/5  after: mAP {percent(after.mean_ap)} on the same images")
    content = ReportContent(
        title="singleshot: a demonstration",
        command=f"ssd demo --out {out}\n{command}",
        notes=[*EXPLANATION, *_found_by_size(after, test_set), *plan.notes, f"All in {say.seconds:.0f} seconds."],
        showcase=showcase,
        evaluation=after,
        before=before,
        annotations=test_set,
        detections=detections,
    )
    return _report(out, plan, content)


def _report(out: Path, plan: Plan, content: ReportContent) -> Path:
    """Write the page, with what the training left behind."""
    content = replace(
        content,
        box_recall=plan.box_recall,
        configuration=plan.resume_values(),
        history=read_metrics(out / TUNED / "metrics.jsonl"),
    )
    write_report(out / "report.html", content)
    return out / "report.html"


EXPLANATION = (
    "The photographs show the shipped model as it is.",
    "The drawn set has classes that the shipped model does not know. Before: the network as fine-tuning begins, with "
    "the shipped weights, but new, untrained class scores. After: the best model by the validation images.",
    "Both are measured on test images, which took no part in training or in any choice; the photographs behind them "
    "are behind no training image.",
)


def training_command(data: Path, options: TrainOptions) -> str:
    """The `ssd train` line of these options: what differs from the defaults."""
    given = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if value != getattr(TrainOptions(), name)
    ]
    return " ".join(["ssd train", str(data), *given])


class _Log:
    """Lines for people, with the time since the start."""

    def __init__(self) -> None:
        self.console = remarks()
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def __call__(self, text: str) -> None:
        self.console.print(f"{self.seconds:5.0f} s  {text}")


def _make_room(out: Path) -> None:
    """Make the folder, or take away what an earlier demonstration left there."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MARK).exists()):
        raise RequestError(f"{out} is not empty and not of an earlier demonstration: give another folder with --out")
    for name in (DETECTED, DRAWN, TUNED):
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _detect_in_photographs(out: Path, settings: DemoSettings) -> list[tuple[str, np.ndarray]]:
    """Annotated copies in a folder; returns each with a line on what was found."""
    paths = [photograph.path for photograph in TO_DETECT]
    result = detect_files(paths, DetectOptions(model=settings.model, score=settings.score, out=out))
    return [
        (f"{photograph.name} ({photograph.subject}): {image.summary}", decode_image(copy))
        for photograph, image, copy in zip(TO_DETECT, result.images, result.copies, strict=True)
    ]


def _evaluated(detector: Detector, annotations: Annotations) -> tuple[Evaluation, list[Detections]]:
    detections = detect_in_set(detector, annotations)
    return evaluate(annotations, detections), detections


def _found_by_size(result: Evaluation, annotations: Annotations) -> Sequence[str]:
    """How many small and how many larger objects were found, at the score that serves the set best."""
    if result.per_image is None or not result.per_image.results:
        return []
    matched = np.concatenate([image.matched for image in result.per_image.results])
    sides = annotations.boxes_xyxy[:, 2:] - annotations.boxes_xyxy[:, :2]
    small = sides.prod(axis=1) < SMALL_SIDE**2
    score = result.per_image.score_threshold
    return [
        f"After, at score {score:.2f}: found {matched[small].sum()} of {small.sum()} objects "
        f"smaller than {SMALL_SIDE} x {SMALL_SIDE} pixels, and {matched[~small].sum()} of {(~small).sum()} larger ones."
    ]
