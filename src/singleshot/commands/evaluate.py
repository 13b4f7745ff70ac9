"""Evaluate a model, or a file of detections, on a labelled set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from singleshot.commands.learnt_images import learnt_overlaps, paths_of
from singleshot.commands.options import DetectionSource, EvaluateOptions
from singleshot.data.recognise import default_splits, open_data
from singleshot.data.splitting import HELD_OUT, hold_out
from singleshot.data.turned_images import LabelsOn
from singleshot.errors import RequestError
from singleshot.evaluate.box_table import require_common_class
from singleshot.evaluate.coco import LIMITS
from singleshot.evaluate.compare import compare
from singleshot.evaluate.detections_file import read_detections
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.evaluate.matching import MatchedDetections
from singleshot.evaluate.pre_annotation import measure_pre_annotation
from singleshot.evaluate.protocols import PROPOSALS, Evaluation, evaluate
from singleshot.report.charts import require_matplotlib
from singleshot.report.page import ReportContent, write_report
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.types import Annotations, Detections

OnNote = Callable[[str], None]
OnImage = Callable[[int, int], None]
"""Called with the number of images done, and of all."""


def evaluate_set(
    options: EvaluateOptions,
    *,
    on_note: OnNote = lambda _text: None,
    on_image: OnImage = lambda _done, _total: None,
) -> Evaluation:
    """Evaluate detections on one split, compare them with those of another model, and write the page.

    Args:
        options: what to evaluate.
        on_note: called with lines for people.
        on_image: called as a model goes through the images.

    Raises:
        RequestError: no such set, split or model; proposals cannot be compared.
        DataError: the split is empty, or the model knows none of its classes.
    """
    if options.report is not None:
        require_matplotlib()
    source, protocol = options.source, options.protocol
    model = model_of(source)
    if protocol is None and model is not None and model.spec.class_agnostic:
        protocol = PROPOSALS
    if protocol == PROPOSALS and options.against is not None:
        raise RequestError("--against compares mAP, which proposals do not have: evaluate each model by itself")
    other = None if options.against is None else _load(options.against, source)
    annotations = labelled_set(options.data, source, on_note=on_note, images_needed=not options.only_reads_files)
    if other is not None:
        require_common_class(other.name, other.spec.class_names, options.data, annotations.class_names)
    learnt, others_learnt = learnt_by(model, other, annotations, on_note=on_note)
    any_class = protocol == PROPOSALS
    detections = detections_of(source, model, annotations, on_note=on_note, on_image=on_image, any_class=any_class)
    result = replace(evaluate(annotations, detections, protocol=protocol), learnt_images=learnt)
    if not any_class:
        matched = MatchedDetections.of(annotations, detections)
        result = replace(result, pre_annotation=measure_pre_annotation(matched, score=options.label_score))
    if result.protocol == "coco":
        for line in beyond_coco_limit(annotations):
            on_note(line)
    if other is not None:
        others = detect_known(other, annotations, on_note=on_note, on_image=on_image)
        comparison = compare(annotations, detections, others, protocol=result.protocol)
        result = replace(result, comparison=replace(comparison, learnt_images=others_learnt))
    if options.report is not None:
        content = ReportContent(
            title=title_of(options.data, source, model),
            notes=[] if learnt is None else list(learnt.lines()),
            evaluation=result,
            annotations=annotations,
            detections=detections,
        )
        write_report(options.report, content)
    return result


def learnt_by(
    model: Detector | None, other: Detector | None, annotations: Annotations, *, on_note: OnNote
) -> tuple[LearntOverlap | None, LearntOverlap | None]:
    """How many of the images the model has learnt, and the one that it is compared with; None where there is none."""
    detectors = [detector for detector in (model, other) if detector is not None]
    folders = [(detector.name, detector.folder) for detector in detectors]
    overlaps = learnt_overlaps(folders, paths_of(annotations), on_note=on_note)
    return None if model is None else overlaps[0], None if other is None else overlaps[-1]


def model_of(source: DetectionSource) -> Detector | None:
    """The model of a source; None for a file of detections."""
    if source.detections is not None:
        return None
    return _load(source.model, source)


def _load(model: str | None, source: DetectionSource) -> Detector:
    """A model that runs as a source's does."""
    return Detector.load(
        model, device=source.device, backbone=source.backbone, tile=source.tile, overlap=source.overlap
    )


def title_of(data: str, source: DetectionSource, model: Detector | None) -> str:
    """The title of a page on it."""
    return f"{source.detections if model is None else model.name} on {data}"


def beyond_coco_limit(annotations: Annotations) -> list[str]:
    """A line where images hold more objects of a class than COCO's evaluation counts detections of."""
    most = LIMITS[-1]
    images = np.arange(len(annotations)).repeat(np.diff(annotations.starts))
    pairs = np.stack([images, annotations.labels], axis=1)[~annotations.crowd]
    counts = np.unique(pairs, axis=0, return_counts=True)[1]
    if not (counts > most).any():
        return []
    reached = np.minimum(counts, most).sum() / counts.sum()
    return [
        f"COCO counts the best {most} detections of an image and class; {(counts > most).sum()} times there are more "
        f"objects (up to {counts.max()}): even perfect detections would reach {reached:.1%} of all; --protocol voc12 "
        "counts every detection"
    ]


def labelled_set(data: str, source: DetectionSource, *, on_note: OnNote, images_needed: bool = True) -> Annotations:
    """The split to evaluate on; a note says which. `images_needed` as in `open_data`.

    Raises:
        RequestError, DataError: there is no such set or split, or nothing in it.
    """
    split = source.split
    if split is None:
        _, validation, test = default_splits(data)
        split = test or validation
    annotations = (
        held_out(data, labels_on=source.labels_on, leave_out_faulty=source.leave_out_faulty)
        if split == HELD_OUT
        else open_data(
            data,
            split=split,
            images_needed=images_needed,
            labels_on=source.labels_on,
            leave_out_faulty=source.leave_out_faulty,
        )
    )
    on_note(f"{len(annotations)} images of {data}" + (f", split {split}" if split else ""))
    for remark in annotations.remarks:
        on_note(remark)
    if split is None and source.detections is None:
        on_note(
            "The set has no splits, so all its images count. If the model was trained on it, the figure is too good: "
            f"--split {HELD_OUT} takes the fifth that training held out; `ssd data split` makes a test split."
        )
    return annotations


def detections_of(
    source: DetectionSource,
    model: Detector | None,
    annotations: Annotations,
    *,
    on_note: OnNote,
    on_image: OnImage,
    any_class: bool = False,
) -> list[Detections]:
    """What the source's file says, or what its model detects; see `read_detections` and `detect_known`."""
    if source.detections is not None:
        return read_detections(source.detections, annotations, on_note=on_note, any_class=any_class)
    assert model is not None
    return detect_known(model, annotations, on_note=on_note, on_image=on_image, any_class=any_class)


def held_out(data: str, *, labels_on: LabelsOn | None = None, leave_out_faulty: bool = False) -> Annotations:
    """The fifth of a set without validation split that training with the usual seed validates on.

    Raises:
        RequestError: the set has a validation split, or too few images.
    """
    train, validation, _ = default_splits(data)
    whole = None
    if not validation:
        whole = open_data(data, split=train, labels_on=labels_on, leave_out_faulty=leave_out_faulty)
    held = None if whole is None else hold_out(whole)[1]
    if held is None:
        reason = f"it has the split {validation}" if validation else "it has too few images"
        raise RequestError(f"of {data} training holds nothing out: {reason}")
    return held


def detect_known(
    detector: Detector,
    annotations: Annotations,
    *,
    on_note: OnNote = lambda _text: None,
    on_image: OnImage = lambda _done, _total: None,
    any_class: bool = False,
) -> list[Detections]:
    """`detect_in_set`, with a note on classes of the set that the model does not know; none for `any_class`.

    Raises:
        DataError: the model and the set have no class in common.
    """
    if not any_class:
        require_common_class(detector.name, detector.spec.class_names, "the data", annotations.class_names)
        unknown = [name for name in annotations.class_names if name not in detector.spec.class_names]
        if unknown:
            shown = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
            on_note(f"{detector.name} does not know {len(unknown)} classes of the data, which count as 0: {shown}")
    return detect_in_set(detector, annotations, on_image=lambda done: on_image(done, len(annotations)))
