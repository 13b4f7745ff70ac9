"""The report of a training or an evaluation.

Every part of the content but the title may be missing; its section is then left out. The page stays below 5 MB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from singleshot.console import percent
from singleshot.decode import decode_image
from singleshot.draw import Mark
from singleshot.evaluate.evaluation import Evaluation
from singleshot.evaluate.per_image import ImageResult
from singleshot.report import template
from singleshot.report.charts import COLOURS, Axis, Series, curve_chart, line_chart, smoothed
from singleshot.report.images import Figure, OpenImage, figure, figure_of_file, marked
from singleshot.types import Annotations, Detections

PROTOCOLS = {
    "voc07": "PASCAL VOC2007: eleven points, IoU 0.5",
    "voc12": "PASCAL VOC2012: area under the envelope, IoU 0.5",
    "ilsvrc": "ILSVRC DET: area under the envelope, IoU 0.5, less for small objects",
    "coco": "COCO: mean over IoU 0.5 to 0.95",
    "proposals": "Recall of the best K boxes, whatever their class: an object is recalled when one has the IoU; "
    "AR: mean over IoU 0.5 to 0.95",
}
RIGHT, WRONG, MISSED, FOUND, IGNORED = (40, 150, 255), (255, 80, 50), (255, 214, 0), (255, 255, 255), (150, 150, 150)
"""Colours of true and false positives, and of ground truth that was missed, found or does not count."""
CURVES_SHOWN = 24
SAME_FIGURE = 5e-4
FIGURES = ("mAP", "AR100")
LARGEST_NUMBER = 1e100
"""Of a log's figures: differences of such numbers are finite, and can be drawn."""
"""Names of `Evaluation.figure`, by which the validations of a run are compared."""


@dataclass(frozen=True)
class RateSearch:
    """A search for the learning rate.

    Attributes:
        rates: that were tried, rising.
        losses: at each.
        suggested: where the loss falls most steeply.
        recipe: the recipe's own.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    suggested: float
    recipe: float


@dataclass(frozen=True, eq=False)
class ReportContent:
    """What a report is about.

    Attributes:
        title: the page's heading.
        command: the command that made it, to repeat it.
        notes: lines for people, such as what was chosen and why.
        showcase: (caption, RGB image) each, shown as they are, such as photographs with their detections drawn.
        box_recall: lines on how well the default boxes fit the ground-truth boxes.
        history: rows of `metrics.jsonl`: training rows with step, epoch, loss, loss_location, loss_confidence,
            learning_rate; validation rows with step, epoch, mAP.
        rate_search: how the loss went as the rate rose.
        evaluation: how good the detections are.
        before: the evaluation to compare with, such as before training.
        annotations: the evaluated images and their ground-truth boxes; with `detections`, the best and worst are shown.
        detections: what was found in each, in the same order.
        configuration: settings by name; values may be nested.
        images_shown: how many of the best, and of the worst.
        open_image: path to RGB array; called for the shown images only.
    """

    title: str
    command: str = ""
    notes: Sequence[str] = ()
    showcase: Sequence[tuple[str, np.ndarray]] = ()
    box_recall: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()
    rate_search: RateSearch | None = None
    evaluation: Evaluation | None = None
    before: Evaluation | None = None
    annotations: Annotations | None = None
    detections: Sequence[Detections] | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    images_shown: int = 6
    open_image: OpenImage = decode_image


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page whole or not at all.

    Raises:
        MachineError: no space left on the disk.
    """
    template.write_page(path, render(content))


def render(content: ReportContent) -> str:
    """The page as text."""
    result, before = content.evaluation, content.before
    best, worst = best_and_worst(content)
    return template.render_page(
        "report.html",
        title=content.title,
        content=content,
        protocol="" if result is None else PROTOCOLS.get(result.protocol, result.protocol),
        tiles=list(_tiles(content)),
        showcase=[figure(image, caption) for caption, image in content.showcase],
        training=training_charts(content.history),
        rate_search="" if content.rate_search is None else rate_chart(content.rate_search),
        proposals=None if result is None else _proposals(result),
        classes=[] if result is None else _classes(result, before),
        unknown={} if result is None else result.unknown_classes,
        numbers=[] if result is None else _numbers(result, before),
        curves={"charts": [], "left_out": 0} if result is None else _curves(result, before),
        threshold=result.per_image.score_threshold if result is not None and result.per_image is not None else 0,
        best=best,
        worst=worst,
        configuration=list(flat(content.configuration)),
    )


# ---------------------------------------------------------------------------------------------------------- headline


def _tile(value: str, words: str, now: float | None = None, before: float | None = None) -> dict[str, Any]:
    return {"value": value, "words": words, "now": now, "before": before}


def _tiles(content: ReportContent) -> Iterator[dict[str, Any]]:
    """The figures that matter, first."""
    result, before = content.evaluation, content.before
    if result is not None:
        name, value = result.figure
        earlier = None if before is None else before.figure[1]
        yield _tile(percent(value), f"{name}, {result.protocol}", value, earlier)
        if before is not None:
            yield _tile(percent(earlier), f"{name} before")
        if "AP50" in result.numbers:
            yield _tile(percent(result.numbers["AP50"]), "AP50")
        if result.per_image is not None and not math.isnan(result.per_image.f1):
            yield _tile(percent(result.per_image.f1), f"F1 at score {result.per_image.score_threshold:.2f}")
        yield _tile(f"{sum(count.ground_truth for count in result.counts.values()):,}", "objects")
    if content.annotations is not None:
        yield _tile(f"{len(content.annotations):,}", "images")
    for name in FIGURES:
        validated = [row for row in content.history if number(row.get(name)) is not None]
        if validated:
            best = max(validated, key=lambda row: float(row[name]))
            final = None if result is None else result.figure[1]
            told = final is not None and abs(final - best[name]) < SAME_FIGURE
            words = "best on validation" if told else f"best validation {name}, {_when(best)}"
            yield _tile(_when(best) if told else percent(best[name]), words)
    trained = [row for row in content.history if number(row.get("loss")) is not None]
    if trained:
        yield _tile(f"{int(trained[-1]['step']):,}", "steps")


def _when(row: Mapping[str, Any]) -> str:
    epoch = number(row.get("epoch"))
    return f"epoch {round(epoch, 1):g}" if epoch is not None else f"step {int(row['step']):,}"


def number(value: Any) -> float | None:
    """A number that can be drawn, else None: a row of a log may hold anything."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
    return float(value) if good else None


# ---------------------------------------------------------------------------------------------------------- training


def training_charts(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """Titled charts of losses, the figure of validation and the learning rate."""
    rows = [row for row in history if number(row.get("step")) is not None]
    axis = "epoch" if rows and all(number(row.get("epoch")) is not None for row in rows) else "step"
    charts: list[tuple[str, Markup]] = []

    def points(name: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(row[axis], row[name]) for row in rows if number(row.get(name)) is not None]
        table = np.array(pairs, float).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def add(title: str, lines: Sequence[Series], y: Axis = Axis(), label: str = "") -> None:  # noqa: B008 (frozen)
        lines = [line for line in lines if len(line.x)]
        if lines:
            charts.append((title, line_chart(lines, Axis(axis), y, label=label or title.lower())))

    def smooth(name: str, label: str, colour: int) -> Series:
        x, y = points(name)
        return Series(f"{label}, smoothed", x, smoothed(y), colour)

    add("Loss", [Series("", *points("loss"), faint=True), smooth("loss", "loss", 0)])
    parts = [smooth("loss_location", "location", 1), smooth("loss_confidence", "confidence", 2)]
    add("Location and confidence loss", parts)
    for name in FIGURES:
        add(f"Validation {name}", [Series("", *points(name), 2, dots=True)], Axis(percent=True), f"validation {name}")
        if len(points(name)[0]):
            title, lines = _classes_over_time(rows, axis)
            add(title, lines, Axis(percent=True))
    add("Learning rate", [Series("", *points("learning_rate"), 3)])
    return charts


def _classes_over_time(rows: Sequence[Mapping[str, Any]], axis: str) -> tuple[str, list[Series]]:
    """A title and one line a class; of many the three best and the three worst at the end."""
    validated = [row for row in rows if isinstance(row.get("per_class"), dict)]
    if len(validated) < 2:
        return "", []
    final = {name: ap for name, ap in validated[-1]["per_class"].items() if number(ap) is not None}
    names = sorted(final, key=lambda name: -final[name])
    half = len(COLOURS) // 2
    few = names if len(names) <= len(COLOURS) else [*names[:half], *names[-half:]]
    lines = []
    for colour, name in enumerate(few):
        points = [(row[axis], row["per_class"].get(name)) for row in validated]
        table = np.array([point for point in points if number(point[1]) is not None], float).reshape(-1, 2)
        lines.append(Series(name, table[:, 0], table[:, 1], colour))
    title = "AP of each class" if len(few) == len(names) else f"AP of the best and worst of {len(names)} classes"
    return title, lines


def rate_chart(search: RateSearch) -> Markup:
    """The loss against the learning rate that rose from step to step."""
    rates, losses = np.asarray(search.rates, float), np.asarray(search.losses, float)
    lines = [Series("", rates, losses, faint=True), Series("loss, smoothed", rates, smoothed(losses, window=10))]
    limits = float(losses.min()), float(np.quantile(losses, 0.9))
    for name, rate, colour in (("suggested", search.suggested, 2), ("the recipe's", search.recipe, 3)):
        lines.append(Series(f"{name}: {rate:.2g}", np.full(2, rate), np.array(limits), colour))
    x, y = Axis("learning rate", log=True), Axis(limits=limits)
    return line_chart(lines, x, y, label="loss against learning rate")


# -------------------------------------------------------------------------------------------------------- evaluation


def _classes(result: Evaluation, before: Evaluation | None) -> list[dict[str, Any]]:
    """Rows of the table of classes, best first, those without ground-truth boxes last."""
    names = sorted(result.per_class, key=lambda name: -(-1.0 if (ap := result.per_class[name]) is None else ap))
    counts = {name: result.counts[name] for name in names}
    return [
        {
            "name": name,
            "ap": result.per_class[name],
            "before": None if before is None else before.per_class.get(name),
            "counts": (counts[name].ground_truth, counts[name].true_positives, counts[name].detections),
        }
        for name in names
    ]


def _numbers(result: Evaluation, before: Evaluation | None) -> list[tuple[str, float | None, float | None]]:
    """The protocol's further figures with those of before: COCO's twelve; proposals have a table of their own."""
    if result.protocol == "proposals":
        return []
    earlier = {} if before is None else before.numbers
    return [(name, value, earlier.get(name)) for name, value in result.numbers.items()]


def _proposals(result: Evaluation) -> dict[str, Any] | None:
    """Recall against the number of proposals, as a chart and in figures."""
    recall = result.proposals
    if recall is None:
        return None
    columns = recall.columns()
    counts = np.array(recall.counts, float)
    lines = [Series(name, counts, values, i, dots=True) for i, (name, values) in enumerate(columns.items())]
    x, y = Axis("proposals an image", log=True), Axis(limits=(0, 1), percent=True)
    return {
        "mean": f"{recall.per_image:,.4g}",
        "chart": line_chart(lines, x, y, label="recall against the number of proposals"),
        "head": ["proposals", *columns],
        "rows": [
            [f"{count:,}", *map(percent, values)]
            for count, *values in zip(recall.counts, *columns.values(), strict=True)
        ],
    }


def _curves(result: Evaluation, before: Evaluation | None) -> dict[str, Any]:
    """A small precision-recall curve for each class; of many classes, those with the most objects."""
    names = sorted(result.curves, key=lambda name: -result.counts[name].ground_truth)
    charts = []
    for name in names[:CURVES_SHOWN]:
        lines = [_curve(result, name, 0)]
        if before is not None and name in before.curves:
            lines.insert(0, _curve(before, name, 1))
        chart = curve_chart(lines, label=f"precision against recall of {name}")
        charts.append((name, result.per_class[name], chart))
    return {"charts": charts, "left_out": len(names) - CURVES_SHOWN}


def _curve(result: Evaluation, name: str, colour: int) -> Series:
    curve = result.curves[name]
    start = curve.precision[:1]
    recall, precision = np.append(start * 0, curve.recall), np.append(start, curve.precision)
    return Series("", recall, precision, colour, faint=colour > 0)


# ------------------------------------------------------------------------------------------------- images and rest


def best_and_worst(content: ReportContent) -> tuple[list[Figure], list[Figure]]:
    """At most `images_shown` figures each: the best images first, and of the others the worst first."""
    result = content.evaluation
    if result is None or result.per_image is None or content.annotations is None or content.detections is None:
        return [], []
    order = result.per_image.ordered()
    count = min(content.images_shown, (len(order) + 1) // 2)
    draw = image_figures(content.annotations, content.detections, result.per_image.results, content.open_image)
    worst = order[::-1][: min(count, len(order) - count)]
    return [draw(index) for index in order[:count]], [draw(index) for index in worst]


def image_figures(
    annotations: Annotations, detections: Sequence[Detections], results: Sequence[ImageResult], open_image: OpenImage
) -> Callable[[int], Figure]:
    """A function from an image's number to its figure, with matches, misses and a line on how it went."""

    def draw(index: int) -> Figure:
        result = results[index]
        wanted = int((~result.ignored).sum())
        right, wrong = len(result.true_positives), len(result.false_positives)
        words = f"{right} of {wanted} found, {wrong} wrong, F1 {100 * result.f1:.0f}%"
        marks = _marks(annotations, index, detections[index], result)
        return figure_of_file(
            annotations.path(index),
            open_image,
            lambda image: marked(image, marks, zoom=1.4),
            words,
            title=annotations.files[index],
        )

    return draw


def _marks(annotations: Annotations, index: int, detections: Detections, result: ImageResult) -> list[Mark]:
    """Ground truth dashed, then false and true positives, the best of each last."""
    ground_truth = annotations.ground_truth(index)
    marks = []
    for row, box in enumerate(ground_truth.boxes_xyxy.tolist()):
        colour = IGNORED if result.ignored[row] else FOUND if result.matched[row] else MISSED
        caption = annotations.class_names[ground_truth.labels[row]] if colour is MISSED else ""
        marks.append(Mark(box, colour, caption, dashed=True))
    for rows, colour in ((result.false_positives, WRONG), (result.true_positives, RIGHT)):
        for row in rows[::-1].tolist():
            caption = f"{detections.class_names[detections.labels[row]]} {100 * detections.scores[row]:.0f}%"
            marks.append(Mark(detections.boxes[row].tolist(), colour, caption))
    return marks


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by name as text; nested ones as `outer.inner`, lists of them as `outer.1`."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(part, dict) for part in value):
            for number, part in enumerate(value, 1):
                words = (f"{key.replace('_', ' ')} {_short(inner)}" for key, inner in part.items() if inner is not None)
                yield f"{prefix}{name}.{number}", ", ".join(words)
        else:
            yield f"{prefix}{name}", str(value)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
