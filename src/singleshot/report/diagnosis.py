"""The page of `ssd analyze`: what the errors are, what they depend on, and the images themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from singleshot.console import percent
from singleshot.decode import decode_image
from singleshot.draw import Mark, draw_marks
from singleshot.evaluate.diagnosis.diagnosis import Diagnosis
from singleshot.evaluate.diagnosis.sensitivity import Sensitivity
from singleshot.report import template
from singleshot.report.charts import Axis, Series, line_chart, parts_chart, stacked_chart
from singleshot.report.images import Figure, OpenImage, figure_of_file, resized
from singleshot.report.page import FOUND, RIGHT, WRONG, image_figures
from singleshot.shapes import UInt8
from singleshot.types import Detections

KINDS = ("correct", "localisation", "similar class", "other class", "background")
KIND_COLOURS = (2, 0, 4, 1, 3)
CLASSES_SHOWN = 24
"""Of those with most objects. Classes stand in one order on the whole page, the set's."""
LARGEST_TABLE = 25
WORST = 9
EXAMPLES = 6
CONTEXT = 0.6
"""Shown around an error, in sides of its box."""
LEAST_SHOWN = 96
"""Pixels of an image that an example shows at least."""
EXAMPLE_SIDE = 300
"""Pixels to which an example is enlarged."""


def write_diagnosis(
    path: Path,
    title: str,
    diagnosis: Diagnosis,
    detections: Sequence[Detections],
    *,
    open_image: OpenImage = decode_image,
) -> None:
    """Write the page.

    Raises:
        MachineError: no space left on the disk.
    """
    template.write_page(path, render(title, diagnosis, detections, open_image=open_image))


def render(title: str, diagnosis: Diagnosis, detections: Sequence[Detections], *, open_image: OpenImage) -> str:
    """The page as text; images are opened for the examples alone."""
    types, known = diagnosis.error_types, diagnosis.matched.known_classes
    wrong = _error_types(diagnosis)
    draw = image_figures(diagnosis.matched.annotations, detections, diagnosis.per_image.results, open_image)
    worst = diagnosis.per_image.ordered()[::-1][:WORST]
    return template.render_page(
        "analysis.html",
        title=title,
        notes=[] if diagnosis.learnt_images is None else list(diagnosis.learnt_images.lines()),
        tiles=_tiles(diagnosis),
        unknown=[name for name, there in zip(types.class_names, known, strict=True) if not there],
        groups="; ".join(", ".join(group) for group in diagnosis.groups) or "none",
        kinds=_kinds(diagnosis),
        wrong=[KINDS[kind] for kind in wrong],
        classes=_classes(diagnosis),
        sensitivities=[
            ("Small and large objects", "area, as a share of the image", _sensitivity(diagnosis.size)),
            ("Tall and wide objects", "width / height", _sensitivity(diagnosis.shape)),
        ],
        confusion=_confusion(diagnosis),
        calibration=_calibration(diagnosis),
        examples=[(KINDS[kind], _examples(diagnosis, kind, open_image)) for kind in wrong],
        threshold=diagnosis.per_image.score_threshold,
        worst=[draw(index) for index in worst],
    )


def _tiles(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """The figures that matter."""
    types = diagnosis.error_types
    aps = types.average_precision[np.isfinite(types.average_precision)]
    missed = 1 - np.nansum(types.recall * types.ground_truth) / max(1, types.ground_truth.sum())
    gains = list(types.gains.values())
    return [
        (percent(float(aps.mean()) if len(aps) else None), "mAP, area under the envelope, IoU 0.5"),
        (percent(float(missed)), "of the objects never found, at any score"),
        *(
            (f"{100 * gains[kind - 1]:+.1f}", f"points of mAP without errors of the type {KINDS[kind]}")
            for kind in _error_types(diagnosis)
        ),
        (percent(diagnosis.calibration.error), "calibration error: how far scores are from the share that is right"),
    ]


def _error_types(diagnosis: Diagnosis) -> list[int]:
    """Numbers of the kinds that there can be: without similar classes, none is taken for one."""
    return [kind for kind in range(1, len(KINDS)) if diagnosis.groups or KINDS[kind] != "similar class"]


def _kinds(diagnosis: Diagnosis) -> list[tuple[str, Markup, Markup | None]]:
    """The paper's figure 3 for each group of classes: shares of the best detections, and of the errors alone."""
    wrong = _error_types(diagnosis)
    charts = []
    for trend in diagnosis.trends:
        places = np.arange(len(trend.multiples), dtype=float)
        found = [Series("found", places, trend.recall), Series("found, IoU 0.1", places, trend.weak_recall, faint=True)]
        chart = stacked_chart(
            _shares(trend.counts, [0, *wrong], first=0),
            [f"{multiple:g}" for multiple in trend.multiples],
            x_label="detections taken, as a multiple of the objects",
            label=f"kinds of detections of {trend.name}",
            lines=found,
        )
        errors = None
        if len(trend.numbers) > 1:
            ticks = [f"{number:,}" for number in trend.numbers]
            label = f"error types of {trend.name}"
            errors = stacked_chart(
                _shares(trend.errors, wrong, first=1), ticks, x_label="highest-scoring errors", label=label
            )
        charts.append((trend.name, chart, errors))
    return charts


def _shares(counts: np.ndarray, kinds: Sequence[int], *, first: int) -> list[Series]:
    """Of each kind its share at each place; `first` is the kind of the first column."""
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    places = np.arange(len(counts), dtype=float)
    return [Series(KINDS[kind], places, shares[:, kind - first], KIND_COLOURS[kind]) for kind in kinds]


def _classes(diagnosis: Diagnosis) -> list[list[str]]:
    """Rows of the table of classes: objects, AP, recalls, and the AP gained without each kind of error."""
    types = diagnosis.error_types
    rows = []
    for label in np.flatnonzero(types.ground_truth):
        ap = float(types.average_precision[label])
        shares = (ap, float(types.recall[label]), float(types.weak_recall[label]))
        gains = [100 * (types.without[kind - 1, label] - ap) for kind in _error_types(diagnosis)]
        row = [types.class_names[label], f"{types.ground_truth[label]:,}", *map(percent, shares)]
        rows.append([*row, *(f"{gain:+.1f}" for gain in gains)])
    return rows


def _sensitivity(found: Sensitivity) -> list[tuple[str, str, Markup]]:
    """The paper's figure 4: name, note and small chart of the mean and of each class."""
    charts = []
    if len(found.class_names) > 1:
        spread = found.values.std(axis=0) / np.sqrt(len(found.values))
        whole = float(found.whole.mean())
        chart = parts_chart(found.parts, found.means, spread, whole=whole, label="mean of all classes")
        charts.append(("mean", f"{len(found.class_names)} classes", chart))
    most = np.argsort(-found.objects.sum(axis=1), kind="stable")[:CLASSES_SHOWN]
    for row in np.sort(most):
        name = found.class_names[row]
        whole = float(found.whole[row])
        label = f"{found.of}: {name}"
        chart = parts_chart(found.parts, found.values[row], found.errors[row], whole=whole, label=label)
        low, high = found.edges[row, 0], found.edges[row, -1]
        span = f"{100 * low:.2g}% to {100 * high:.2g}%" if found.of == "size" else f"{low:.2g} to {high:.2g}"
        charts.append((name, span, chart))
    return charts


def _confusion(diagnosis: Diagnosis) -> dict[str, Any]:
    """Counts as a table of names and shaded cells or, of many classes, the most frequent confusions in words."""
    found = diagnosis.confusion
    objects = np.flatnonzero(found.counts[:-1].any(axis=1))
    names, known = found.class_names, np.flatnonzero(diagnosis.matched.known_classes)
    if len(objects) > LARGEST_TABLE:
        most = [f"{there} taken for {taken}: {count:,}" for there, taken, count in found.most(20)]
        return {"score": found.score, "most": most, "columns": [], "rows": []}
    counts = found.counts[np.ix_(np.append(objects, len(names)), np.append(known, len(names)))]
    columns = [names[column] for column in known]
    rows = []
    for name, row in zip([*(names[index] for index in objects), "nothing there"], counts, strict=True):
        total = max(1, int(row.sum()))
        cells = [
            {"count": int(count), "right": column == name, "opacity": f"{0.75 * count / total:.2f}"}
            for column, count in zip([*columns, None], row, strict=True)
        ]
        rows.append((name, cells))
    return {"score": found.score, "most": [], "columns": columns, "rows": rows}


def _calibration(diagnosis: Diagnosis) -> Markup:
    found = diagnosis.calibration
    both = np.array([0.0, 1.0])
    lines = [
        Series("as it should be", both, both, 3, faint=True),
        Series("share of the detections that are right", found.scores, found.precision, 0, dots=True),
    ]
    y = Axis(limits=(0, 1), percent=True)
    return line_chart(lines, Axis("score"), y, label="share of detections that are right against their score")


def _examples(diagnosis: Diagnosis, kind: int, open_image: OpenImage) -> list[Figure]:
    """The highest-scoring errors of a kind, one an image, cut out of their images."""
    matched = diagnosis.matched
    rows = np.flatnonzero(diagnosis.error_types.kinds == kind)
    rows = rows[np.argsort(-matched.detections.scores[rows], kind="stable")]
    _, first = np.unique(matched.detections.images[rows], return_index=True)
    figures = []
    for row in rows[np.sort(first)][:EXAMPLES].tolist():
        index = int(matched.detections.images[row])
        caption = f"{_named(diagnosis, row)}, {matched.annotations.files[index]}"

        def draw(image: np.ndarray, row: int = row) -> np.ndarray:
            return _cut_out(diagnosis, image, row)

        figures.append(figure_of_file(matched.annotations.path(index), open_image, draw, caption))
    return figures


def _named(diagnosis: Diagnosis, row: int) -> str:
    matched = diagnosis.matched
    return f"{matched.class_names[matched.detections.labels[row]]} {100 * matched.detections.scores[row]:.0f}%"


def _cut_out(diagnosis: Diagnosis, image: UInt8[np.ndarray, "H W 3"], row: int) -> UInt8[np.ndarray, "h w 3"]:
    """The surroundings of an error, enlarged, with it, the ground truth and the true positives there."""
    matched = diagnosis.matched
    index = matched.detections.images[row]
    box = matched.detections.boxes_xyxy[row].astype(np.float64)
    frame = _frame(box, (image.shape[1], image.shape[0]))
    left, top, right, bottom = frame.tolist()
    cut = image[top:bottom, left:right]
    zoom = max(1.0, EXAMPLE_SIDE / max(cut.shape[:2]))
    enlarged = resized(cut, (max(1, round(cut.shape[1] * zoom)), max(1, round(cut.shape[0] * zoom))))

    def placed(boxes: np.ndarray) -> list[list[float]]:
        return ((boxes - np.tile(frame[:2], 2)) * zoom).tolist()  # type: ignore[no-any-return]

    def inside(boxes: np.ndarray) -> np.ndarray:
        return np.flatnonzero((boxes[:, :2] < frame[2:]).all(axis=1) & (boxes[:, 2:] > frame[:2]).all(axis=1))

    ground_truth = matched.annotations.ground_truth(int(index))
    shown = inside(ground_truth.boxes_xyxy)
    names = [matched.class_names[label] for label in ground_truth.labels[shown]]
    objects = zip(placed(ground_truth.boxes_xyxy[shown]), names, strict=True)
    correct = (matched.detections.images == index) & (diagnosis.error_types.kinds == 0)
    matches = matched.detections.boxes_xyxy[
        correct & (matched.detections.scores >= diagnosis.per_image.score_threshold)
    ]
    marks = [Mark(place, FOUND, name, dashed=True) for place, name in objects]
    marks += [Mark(place, RIGHT) for place in placed(matches[inside(matches)])]
    marks.append(Mark(placed(box[None])[0], WRONG, _named(diagnosis, row)))
    return draw_marks(enlarged, marks)


def _frame(box: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The part of the image (x1, y1, x2, y2) that shows a box with its surroundings."""
    centre = (box[:2] + box[2:]) / 2
    half = np.maximum((box[2:] - box[:2]) * (0.5 + CONTEXT), LEAST_SHOWN / 2)
    half = np.maximum(half, 0.7 * half.max())
    low = np.clip(np.floor(centre - half), 0, [max(0, side - 1) for side in size_wh]).astype(int)
    high = np.maximum(low + 1, np.clip(np.ceil(centre + half), 0, size_wh).astype(int))
    return np.concatenate([low, high])
