"""Analyse the errors of a model, or of a file of detections, on a labelled set."""

from __future__ import annotations

from dataclasses import replace

from singleshot.commands.evaluate import OnImage, OnNote, detections_of, labelled_set, model_of, title_of
from singleshot.commands.learnt_images import learnt_overlap, paths_of
from singleshot.commands.options import AnalyzeOptions
from singleshot.evaluate.diagnosis.class_groups import parse_groups
from singleshot.evaluate.diagnosis.diagnosis import Diagnosis, diagnose
from singleshot.report.charts import require_matplotlib
from singleshot.report.diagnosis import write_diagnosis


def analyze_set(
    options: AnalyzeOptions,
    *,
    on_note: OnNote = lambda _text: None,
    on_image: OnImage = lambda _done, _total: None,
) -> Diagnosis:
    """Diagnose detections on one split, and write the page.

    Args:
        options: what to analyse.
        on_note: called with lines for people.
        on_image: called as a model goes through the images.

    Raises:
        RequestError: no such set, split or model, or a group of one class.
        UnknownNameError: a group names a class that the set does not have.
        DataError: the split is empty, or the model knows none of its classes.
    """
    require_matplotlib()
    source = options.source
    annotations = labelled_set(options.data, source, on_note=on_note)
    groups = None if options.similar is None else parse_groups(options.similar, annotations.class_names)
    model = model_of(source)
    learnt = None if model is None else learnt_overlap(model.folder, paths_of(annotations), on_note=on_note)
    detections = detections_of(source, model, annotations, on_note=on_note, on_image=on_image)
    diagnosis = replace(diagnose(annotations, detections, groups=groups), learnt_images=learnt)
    write_diagnosis(options.report, title_of(options.data, source, model), diagnosis, detections)
    return diagnosis
