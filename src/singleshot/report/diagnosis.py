"""The page of `ssd analyze`: what the errors are, what they depend on, and the images themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from importlib import metadata
from pathlib import Path

import numpy as np

from singleshot.decode import decode_image
from singleshot.evaluate.diagnosis.diagnosis import Diagnosis
from singleshot.evaluate.diagnosis.sensitivity import Sensitivity
from singleshot.files import write_whole
from singleshot.report.chart import Series, line_chart
from singleshot.report.diagnosis_charts import KIND_COLOURS, confusion_table, parts_chart, stacked_chart
from singleshot.report.diagnosis_examples import examples
from singleshot.report.gallery import Gallery
from singleshot.report.page import HEAD, section
from singleshot.report.sections import images, lines, percent
from singleshot.report.style import STYLE
from singleshot.types import Detections

KINDS = ("correct", "localisation", "similar class", "other class", "background")
EXPLAINED = (
    "localisation: the right class, but the box fits by 10 to 50% only, or the object was found before",
    "similar class, other class: it lies on an object of another class",
    "background: it lies on nothing that is labelled (a missing label looks the same)",
)
CLASSES_SHOWN = 24
"""Of those with most objects. Classes stand in one order on the whole page, the set's."""
LARGEST_TABLE = 25
WORST = 9


def write_diagnosis(
    path: Path,
    title: str,
    diagnosis: Diagnosis,
    detections: Sequence[Detections],
    *,
    open_image: Callable[[Path], np.ndarray] = decode_image,
) -> None:
    """Write the page.

    Raises:
        MachineError: no space left on the disk.
    """
    page = render(title, diagnosis, detections, open_image=open_image)
    write_whole(path, page.encode("utf-8", errors="replace"))


def render(
    title: str,
    diagnosis: Diagnosis,
    detections: Sequence[Detections],
    *,
    open_image: Callable[[Path], np.ndarray],
) -> str:
    """The page as text; images are opened for the examples alone."""
    gallery = Gallery(diagnosis.matched.annotations, detections, diagnosis.per_image, open_image)
    worst = diagnosis.per_image.ordered()[::-1][:WORST]
    parts = [HEAD.format(title=escape(title), style=STYLE), f"<h1>{escape(title)}</h1>"]
    parts.append(_headline(diagnosis))
    parts.append(section("What the detections are", _kinds(diagnosis)))
    parts.append(section("The kinds of each class", _class_table(diagnosis)))
    for found, name in ((diagnosis.size, "Small and large objects"), (diagnosis.shape, "Tall and wide objects")):
        parts.append(section(name, _sensitivity(found)))
    parts.append(section("Which class is taken for which", _confusion(diagnosis)))
    parts.append(section("What a score means", _calibration(diagnosis)))
    for kind in _error_types(diagnosis):
        title_of = f"The surest errors: {KINDS[kind]}"
        parts.append(section(title_of, examples(diagnosis, kind, open_image)))
    parts.append(section("Images that went worst", images(gallery, worst)))
    parts.append(f"<footer>singleshot {escape(metadata.version('singleshot'))}</footer></main></body></html>\n")
    return "\n".join(part for part in parts if part)


def _headline(diagnosis: Diagnosis) -> str:
    types = diagnosis.error_types
    aps = types.average_precision[np.isfinite(types.average_precision)]
    missed = 1 - np.nansum(types.recall * types.ground_truth) / max(1, types.ground_truth.sum())
    tiles = [(percent(float(aps.mean()) if len(aps) else None), "mAP, area under the envelope, IoU 0.5")]
    tiles.append((percent(float(missed)), "of the objects never found, at any score"))
    gains = list(types.gains.values())
    tiles += [
        (f"{100 * gains[kind - 1]:+.1f}", f"points of mAP without errors of the type {KINDS[kind]}")
        for kind in _error_types(diagnosis)
    ]
    error = f"{100 * diagnosis.calibration.error:.1f}%"
    tiles.append((error, "calibration error: how far scores are from the share that is right"))
    shown = "".join(f'<div class="tile"><b>{value}</b><span>{escape(text)}</span></div>' for value, text in tiles)
    unknown = [
        name for name, known in zip(types.class_names, diagnosis.matched.known_classes, strict=True) if not known
    ]
    explained = [*EXPLAINED, *([f"left out, as the model does not know them: {', '.join(unknown)}"] if unknown else [])]
    groups = "; ".join(", ".join(group) for group in diagnosis.groups) or "none"
    return f'<div class="tiles">{shown}</div>' + section("The kinds", lines([*explained, f"similar classes: {groups}"]))


def _error_types(diagnosis: Diagnosis) -> list[int]:
    """Numbers of the kinds that there can be: without similar classes, none is taken for one."""
    return [kind for kind in range(1, len(KINDS)) if diagnosis.groups or KINDS[kind] != "similar class"]


def _kinds(diagnosis: Diagnosis) -> str:
    """The paper's figure 3: shares among the best detections, and among the highest-scoring errors."""
    cards = []
    wrong = _error_types(diagnosis)
    shown = [0, *wrong]
    for trend in diagnosis.trends:
        chart = stacked_chart(
            (trend.counts / np.maximum(1, trend.counts.sum(axis=1, keepdims=True)))[:, shown],
            [KINDS[kind] for kind in shown],
            [KIND_COLOURS[kind] for kind in shown],
            [f"{multiple:g}" for multiple in trend.multiples],
            x_label="detections taken, as a multiple of the objects",
            label=f"kinds of detections of {trend.name}",
            lines=[("found", trend.found, False), ("found, overlap 0.1", trend.touched, True)],
        )
        if len(trend.numbers) > 1:
            chart += '<p class="quiet">Of the errors alone:</p>' + stacked_chart(
                (trend.errors / np.maximum(1, trend.errors.sum(axis=1, keepdims=True)))[:, [k - 1 for k in wrong]],
                [KINDS[kind] for kind in wrong],
                [KIND_COLOURS[kind] for kind in wrong],
                [f"{number:,}" for number in trend.numbers],
                x_label="highest-scoring errors",
                label=f"error types of {trend.name}",
            )
        cards.append(f'<div class="card"><h3>{escape(trend.name)}</h3>{chart}</div>')
    return f'<div class="charts">{"".join(cards)}</div>'


def _class_table(diagnosis: Diagnosis) -> str:
    types = diagnosis.error_types
    wrong = _error_types(diagnosis)
    head = "".join(f"<th>{escape(KINDS[kind])}</th>" for kind in wrong)
    rows = [
        "<tr><th>class</th><th>objects</th><th>AP</th><th>found</th><th>found, 0.1</th>"
        f'<th colspan="{len(wrong)}">points of AP without ...</th></tr><tr>{"<th></th>" * 5}{head}</tr>'
    ]
    for label in np.flatnonzero(types.ground_truth):
        ap = types.average_precision[label]
        cells = "".join(f"<td>{100 * (types.without[kind - 1, label] - ap):+.1f}</td>" for kind in wrong)
        recalls = (float(types.recall[label]), float(types.weak_recall[label]))
        rows.append(
            f"<tr><td>{escape(types.class_names[label])}</td><td>{types.ground_truth[label]:,}</td>"
            f"<td>{percent(float(ap))}</td><td>{percent(recalls[0])}</td><td>{percent(recalls[1])}</td>{cells}</tr>"
        )
    return f'<div class="card scroll"><table>{"".join(rows)}</table></div>'


def _sensitivity(found: Sensitivity) -> str:
    """The paper's figure 4: one small chart a class, and their mean."""
    if not found.class_names:
        return '<p class="quiet">No class has ten objects.</p>'
    cards = []
    if len(found.class_names) > 1:
        spread = found.values.std(axis=0) / np.sqrt(len(found.values))
        chart = parts_chart(found.parts, found.means, spread, float(found.whole.mean()), label="mean of all classes")
        count = f"{len(found.class_names)} classes"
        cards.append(f'<div class="card"><h3>mean<br><span class="quiet">{count}</span></h3>{chart}</div>')
    most = np.argsort(-found.objects.sum(axis=1), kind="stable")[:CLASSES_SHOWN]
    for row in np.sort(most):
        name = found.class_names[row]
        chart = parts_chart(
            found.parts, found.values[row], found.errors[row], float(found.whole[row]), label=f"{found.of}: {name}"
        )
        span = f"{_edge(found, found.edges[row, 0])} to {_edge(found, found.edges[row, -1])}"
        cards.append(f'<div class="card"><h3>{escape(name)}<br><span class="quiet">{span}</span></h3>{chart}</div>')
    what = "area, as a share of the image" if found.of == "size" else "width / height"
    words = (
        f"Normalised AP of the tenth, fifth, two fifths, fifth and tenth of a class's objects by {what}; the figures "
        "below the name part off the first and the last. Dashed: all its objects. Bars: standard errors."
    )
    return f'<p class="quiet">{words}</p><div class="curves wide">{"".join(cards)}</div>'


def _edge(found: Sensitivity, value: float) -> str:
    return f"{100 * value:.2g}%" if found.of == "size" else f"{value:.2g}"


def _confusion(diagnosis: Diagnosis) -> str:
    found = diagnosis.confusion
    words = f'<p class="quiet">Detections from a score of {found.score:.2f} on, where F1 of the set is best.</p>'
    objects = np.flatnonzero(found.counts[:-1].any(axis=1))
    names, known = found.class_names, np.flatnonzero(diagnosis.matched.known_classes)
    if len(objects) <= LARGEST_TABLE:
        counts = found.counts[np.ix_(np.append(objects, len(names)), np.append(known, len(names)))]
        return words + confusion_table([names[row] for row in objects], [names[column] for column in known], counts)
    most = [f"{there} taken for {taken}: {count:,}" for there, taken, count in found.most(20)]
    return words + (lines(most) or '<p class="quiet">No class is taken for another.</p>')


def _calibration(diagnosis: Diagnosis) -> str:
    found = diagnosis.calibration
    both = np.array([0.0, 1.0])
    chart = line_chart(
        [
            Series("as it should be", both, both, 3, faint=True),
            Series("share of the detections that are right", found.scores, found.precision, 0, dots=True),
        ],
        x_label="score",
        label="share of detections that are right against their score",
        y_range=(0, 1),
        percent=True,
    )
    return f'<div class="card half">{chart}</div>'
