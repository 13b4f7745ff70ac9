"""Evaluate a model, or a file of detections, on a labelled set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from singleshot.data.recognise import default_splits, open_data
from singleshot.data.splitting import hold_out
from singleshot.errors import DataError, RequestError
from singleshot.evaluate.compare import compare
from singleshot.evaluate.detections_file import read_detections
from singleshot.evaluate.protocols import PROPOSALS, Evaluation, evaluate
from singleshot.report.page import ReportContent, write_report
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.find_model import find_model
from singleshot.types import Annotations, Detections

HELD_OUT = "held-out"


def evaluate_set(
    data: str,
    *,
    model: str | None,
    detections_file: Path | None,
    split: str | None,
    protocol: str | None,
    device: str,
    console: Console,
    report: Path | None = None,
    against: str | None = None,
) -> Evaluation:
    """The figures of a model or of a file of detections on one split, compared with those of the model `against`.

    Raises:
        RequestError: both a model and detections were given; proposals cannot be compared.
        DataError: the split is empty, or the model knows none of its classes.
    """
    if protocol is None and detections_file is None and find_model(model).spec.class_agnostic:
        protocol = PROPOSALS
    proposes = protocol == PROPOSALS
    if proposes and against is not None:
        raise RequestError("--against compares mAP, which proposals do not have: evaluate each model by itself")
    opponent = None if against is None else Detector.load(against, device=device)
    annotations = labelled_set(data, split=split, from_file=detections_file is not None, console=console)
    if opponent is not None:
        require_common_class(opponent, annotations)
    name, detections = detections_for(
        annotations, model, detections_file, device=device, console=console, any_class=proposes
    )
    result = evaluate(annotations, detections, protocol=protocol)
    if opponent is not None:
        theirs = detect_with_progress(opponent, annotations, console)
        result = replace(result, comparison=compare(annotations, detections, theirs, protocol=result.protocol))
    if report is not None:
        write_report(
            report,
            ReportContent(title=f"{name} on {data}", evaluation=result, annotations=annotations, detections=detections),
        )
    return result


def labelled_set(data: str, *, split: str | None, from_file: bool, console: Console) -> Annotations:
    """The split to judge on, said aloud; left out, the test split, else the validation split, else everything.

    Args:
        data: the set.
        split: its name, or `held-out`.
        from_file: detections come from a file, not from a model.
        console: for remarks.
    """
    if split is None:
        _, validation, test = default_splits(data)
        split = test or validation
    annotations = held_out(data) if split == HELD_OUT else open_data(data, split=split)
    console.print(f"{len(annotations)} images of {data}" + (f", split {split}" if split else ""))
    if split is None and not from_file:
        console.print(
            "The set has no splits, so all its images count. If the model was trained on it, the figure is too good: "
            f"--split {HELD_OUT} takes the fifth that training held out."
        )
    return annotations


def detections_for(
    annotations: Annotations,
    model: str | None,
    detections_file: Path | None,
    *,
    device: str,
    console: Console,
    any_class: bool = False,
) -> tuple[str, list[Detections]]:
    """What a model finds in each image, or what a file says it found, and the name of either.

    Whether the set has the classes of what was found does not matter for `any_class`.

    Raises:
        RequestError: both were given.
        DataError: the model and the set have no class in common; the file is broken or of another set.
    """
    if model is not None and detections_file is not None:
        raise RequestError("give --model or --detections, not both")
    if detections_file is not None:
        return str(detections_file), read_detections(
            detections_file, annotations, on_note=console.print, any_class=any_class
        )
    detector = Detector.load(model, device=device)
    return detector.name, detect_with_progress(detector, annotations, console, any_class=any_class)


def held_out(data: str) -> Annotations:
    """The fifth of a set without validation split that training with the usual seed validates on.

    Raises:
        RequestError: the set has a validation split, or too few images.
    """
    train, validation, _ = default_splits(data)
    held = None if validation else hold_out(open_data(data, split=train))[1]
    if held is None:
        reason = f"it has the split {validation}" if validation else "it has too few images"
        raise RequestError(f"of {data} training holds nothing out: {reason}")
    return held


def require_common_class(detector: Detector, annotations: Annotations) -> None:
    """Refuse to compare what has nothing in common.

    Raises:
        DataError: the model and the set have no class in common.
    """
    if not set(detector.spec.class_names) & set(annotations.class_names):
        raise DataError(
            f"{detector.name} detects {', '.join(detector.spec.class_names)}; "
            f"the data has {', '.join(annotations.class_names)}: no class in common"
        )


def detect_with_progress(
    detector: Detector, annotations: Annotations, console: Console, *, any_class: bool = False
) -> list[Detections]:
    """`detect_in_set` with a bar; classes do not matter for `any_class`.

    Raises:
        DataError: the model and the set have no class in common.
    """
    if not any_class:
        _compare_classes(detector, annotations, console)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("detecting", total=len(annotations))
        return detect_in_set(detector, annotations, on_image=lambda done: progress.update(task, completed=done))


def _compare_classes(detector: Detector, annotations: Annotations, console: Console) -> None:
    """Name the classes of the data that the model does not know; refuse where it knows none."""
    require_common_class(detector, annotations)
    unknown = [name for name in annotations.class_names if name not in detector.spec.class_names]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        console.print(f"{detector.name} does not know {len(unknown)} classes of the data, which count as 0: {shown}")
