"""Analyse a model, or a file of detections, on a labelled set."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from singleshot.commands.evaluate import detections_for, labelled_set
from singleshot.evaluate.diagnosis.class_groups import parse_groups
from singleshot.evaluate.diagnosis.diagnosis import Diagnosis, diagnose
from singleshot.report.diagnosis import write_diagnosis


def analyse_set(
    data: str,
    *,
    model: str | None,
    detections_file: Path | None,
    split: str | None,
    similar: str | None,
    device: str,
    console: Console,
    page: Path,
) -> Diagnosis:
    """Diagnose a model or a file of detections on one split, and write the page.

    Args:
        data: the set.
        model: as for `evaluate_set`.
        detections_file: to analyse instead.
        split: as for `evaluate_set`.
        similar: groups of classes as `car,bus;cat,dog`; None takes those that are known.
        device: where the model runs.
        console: for remarks.
        page: where to write.

    Raises:
        RequestError: both a model and detections were given, or a group of one class.
        UnknownNameError: a group names a class that the set does not have.
        DataError: the split is empty, or the model knows none of its classes.
    """
    annotations = labelled_set(data, split=split, from_file=detections_file is not None, console=console)
    groups = None if similar is None else parse_groups(similar, annotations.class_names)
    name, detections = detections_for(annotations, model, detections_file, device=device, console=console)
    diagnosis = diagnose(annotations, detections, groups=groups)
    write_diagnosis(page, f"{name} on {data}", diagnosis, detections)
    return diagnosis
