"""The page of `ssd compare`: runs and models side by side.

What was recorded while they were trained is always there; what needs a labelled set, only where one was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from singleshot.console import percent
from singleshot.evaluate.compare import Comparison
from singleshot.evaluate.per_image import most_different
from singleshot.evaluate.protocols import Evaluation
from singleshot.report import template
from singleshot.report.charts import COLOURS, Axis, Series, curve_chart, line_chart, smoothed
from singleshot.report.images import Figure, OpenImage
from singleshot.report.page import CURVES_SHOWN, FIGURES, PROTOCOLS, image_figures, number
from singleshot.types import Annotations, Detections

CHARTS = (("loss", "Loss, smoothed"), ("learning_rate", "Learning rate"))
"""Columns of `metrics.jsonl` that are drawn beside the figures of validation."""
NOTHING = "–"  # noqa: RUF001  (a dash)


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What a run, or a model, says of itself.

    Attributes:
        name: how the user called it, as short as it is clear.
        facts: figures and words by name, such as the size; in the order in which they are shown.
        history: rows of `metrics.jsonl`; empty for a model alone.
        settings: every setting of the training as text, by name; empty where none is recorded.
    """

    name: str
    facts: Mapping[str, str]
    history: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The row of the best validation; None where there was none."""
        rows = [row for row in self.history if self.validated(row) is not None]
        return max(rows, key=lambda row: self.validated(row) or 0.0, default=None)

    @staticmethod
    def validated(row: Mapping[str, Any]) -> float | None:
        """The figure of validation of a row."""
        return next((value for name in FIGURES if (value := number(row.get(name))) is not None), None)


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """A run's detections of a labelled set.

    Attributes:
        evaluation: how good they are.
        detections: of each image.
        against_first: this run's against the first's; None for the first itself.
    """

    evaluation: Evaluation
    detections: Sequence[Detections]
    against_first: Comparison | None = None


@dataclass(frozen=True, eq=False)
class ComparisonContent:
    """What the page shows.

    Attributes:
        title: its heading.
        runs: two or more.
        notes: lines for people.
        annotations: the labelled set, where there is one.
        evaluated: each run on it; empty where there is none.
        images_shown: on which a run is better than another, at most so many of all pairs of runs together; one of each
            pair at least, and as many on which the other is better.
    """

    title: str
    runs: Sequence[RunRecord]
    notes: Sequence[str] = ()
    annotations: Annotations | None = None
    evaluated: Sequence[EvaluatedRun] = ()
    images_shown: int = 4

    @property
    def images_each(self) -> int:
        """Those of one pair of runs: the first and another."""
        return max(1, self.images_shown // max(1, len(self.runs) - 1))


def render(content: ComparisonContent, open_image: OpenImage) -> str:
    """The page as text; images are opened for those that are shown alone."""
    names = [run.name for run in content.runs]
    protocol = content.evaluated[0].evaluation.protocol if content.evaluated else ""
    return template.render_page(
        "comparison.html",
        title=content.title,
        notes=content.notes,
        protocol=PROTOCOLS.get(protocol, protocol),
        tiles=_tiles(content),
        names=names,
        facts=fact_rows(content.runs),
        significance=significance(content.runs, content.evaluated),
        classes=_class_rows(content),
        curves=_learning_curves(content.runs),
        precision=_precision_curves(content),
        pairs=_pairs(content, open_image),
        settings=differing_settings(content.runs),
        colours=[index % len(COLOURS) for index in range(len(names))],
    )


def fact_rows(runs: Sequence[RunRecord]) -> list[list[str]]:
    """The facts as rows: name, then that of each run."""
    names = dict.fromkeys(name for run in runs for name in run.facts)
    return [[name, *(run.facts.get(name, NOTHING) for run in runs)] for name in names]


def differing_settings(runs: Sequence[RunRecord]) -> list[list[str]]:
    """The settings in which the runs that have any differ, as rows: name, then that of each run."""
    with_settings = [run for run in runs if run.settings]
    names = dict.fromkeys(name for run in with_settings for name in run.settings)
    return [
        [name, *(run.settings.get(name, NOTHING) for run in runs)]
        for name in names
        if len({run.settings.get(name) for run in with_settings}) > 1
    ]


def significance(runs: Sequence[RunRecord], evaluated: Sequence[EvaluatedRun]) -> list[str]:
    """A line on each of the others against the first run."""
    return [
        f"{run.name} against {runs[0].name}: {of_run.against_first}"
        for run, of_run in zip(runs, evaluated, strict=False)
        if of_run.against_first is not None
    ]


def _tiles(content: ComparisonContent) -> list[dict[str, Any]]:
    """The mAP of each run, and how far it is from the first's."""
    values = [of_run.evaluation.mean_ap for of_run in content.evaluated]
    words = [f"mAP, {of_run.evaluation.protocol}" for of_run in content.evaluated]
    if not values:
        best = [run.best for run in content.runs]
        values = [None if row is None else RunRecord.validated(row) for row in best]
        words = ["not validated" if row is None else "best on its own validation set" for row in best]
    highest = max((value for value in values if value is not None), default=None)
    return [
        {
            "value": percent(value),
            "name": run.name,
            "words": text,
            "now": value if index else None,
            "before": values[0],
            "main": value is not None and value == highest,
        }
        for index, (run, value, text) in enumerate(zip(content.runs, values, words, strict=True))
    ]


def _class_rows(content: ComparisonContent) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    """Of each class that has objects its name, their number, and the AP of each run with whether it is the best."""
    if not content.evaluated:
        return []
    evaluations = [of_run.evaluation for of_run in content.evaluated]
    rows = []
    for name, count in evaluations[0].counts.items():
        aps = [evaluation.per_class.get(name) for evaluation in evaluations]
        shown = [percent(ap) for ap in aps]
        best = max((ap for ap in aps if ap is not None), default=None)
        if best is not None:
            cells = [(text, text == percent(best) and len(set(shown)) > 1) for text in shown]
            rows.append((name, f"{count.ground_truth:,}", cells))
    return rows


def _learning_curves(runs: Sequence[RunRecord]) -> list[tuple[str, Markup]]:
    """Titled charts with a line a run: validation, loss, learning rate; against epochs where all rows have them."""
    rows = [row for run in runs for row in run.history]
    axis = "epoch" if rows and all(number(row.get("epoch")) is not None for row in rows) else "step"
    charts = []
    for column, title in (*((name, f"Validation {name}") for name in FIGURES), *CHARTS):
        lines = []
        for index, run in enumerate(runs):
            pairs = [(row.get(axis), row.get(column)) for row in run.history]
            points = [pair for pair in pairs if number(pair[0]) is not None and number(pair[1]) is not None]
            x, y = np.array(points, float).reshape(-1, 2).T
            is_figure = column in FIGURES
            y = smoothed(y) if column == "loss" and len(y) else y
            lines.append(Series(run.name, x, y, index % len(COLOURS), dots=is_figure))
        if any(len(line.x) for line in lines):
            charts.append((title, line_chart(lines, Axis(axis), Axis(percent=column in FIGURES), label=title.lower())))
    return charts


def _precision_curves(content: ComparisonContent) -> dict[str, Any]:
    """Precision against recall of each class with a curve a run; of many classes, those with the most objects."""
    evaluations = [of_run.evaluation for of_run in content.evaluated]
    if not evaluations:
        return {"charts": [], "left_out": 0}
    counts = evaluations[0].counts
    names = sorted(evaluations[0].curves, key=lambda name: -counts[name].ground_truth)
    charts = []
    for name in names[:CURVES_SHOWN]:
        lines = []
        for index, evaluation in enumerate(evaluations):
            curve = evaluation.curves[name]
            start = curve.precision[:1]
            recall, precision = np.append(start * 0, curve.recall), np.append(start, curve.precision)
            lines.append(Series("", recall, precision, index % len(COLOURS)))
        charts.append((name, curve_chart(lines, label=f"precision against recall of {name}", filled=False)))
    return {"charts": charts, "left_out": len(names) - CURVES_SHOWN}


def _pairs(content: ComparisonContent, open_image: OpenImage) -> list[dict[str, Any]]:
    """Of the first run and each other, the images on which they differ most: words, and two figures each."""
    annotations = content.annotations
    if annotations is None or len(content.evaluated) < 2:
        return []
    draws = [_draw(annotations, of_run, open_image) for of_run in content.evaluated]
    first, name = content.evaluated[0], content.runs[0].name
    parts = []
    for run, of_run, draw in zip(content.runs[1:], content.evaluated[1:], draws[1:], strict=True):
        assert first.evaluation.per_image is not None
        assert of_run.evaluation.per_image is not None
        results = first.evaluation.per_image, of_run.evaluation.per_image
        images = []
        for index in most_different(*results, content.images_each):
            errors = [of_both.results[index].errors for of_both in results]
            words = f"{annotations.files[index]}: errors of {name} {errors[0]}, of {run.name} {errors[1]}"
            figures = [replace(draws[0](index), title=name), replace(draw(index), title=run.name)]
            images.append((words, figures))
        thresholds = [f"{of_both.score_threshold:.2f}" for of_both in results]
        parts.append({"title": f"{name} and {run.name}", "thresholds": thresholds, "images": images})
    return parts


def _draw(annotations: Annotations, of_run: EvaluatedRun, open_image: OpenImage) -> Callable[[int], Figure]:
    """A function from an image's number to its figure."""
    assert of_run.evaluation.per_image is not None
    return image_figures(annotations, of_run.detections, of_run.evaluation.per_image.results, open_image)
