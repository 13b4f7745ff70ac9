"""The sections of the report, each from its part of the content to HTML; empty text where there is nothing to say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from singleshot.evaluate.evaluation import Evaluation
from singleshot.report.chart import Series, curve_chart, line_chart, smoothed
from singleshot.report.content import RateSearch, ReportContent
from singleshot.report.gallery import LEGEND, Gallery, shown_as_it_is

PROTOCOLS = {
    "voc07": "PASCAL VOC2007: eleven points, IoU 0.5",
    "voc12": "PASCAL VOC2012: area under the envelope, IoU 0.5",
    "ilsvrc": "ILSVRC DET: area under the envelope, IoU 0.5, less for small objects",
    "coco": "COCO: mean over IoU 0.5 to 0.95",
    "proposals": "Recall of the best K boxes, whatever their class: an object is reached when one overlaps it by "
    "the threshold; AR: mean over IoU 0.5 to 0.95",
}
CURVES_SHOWN = 24
COLOURS = 6  # of the page
SAME_FIGURE = 5e-4
FIGURES = ("mAP", "AR100")
"""Names of `Evaluation.figure`, by which the validations of a run are compared."""


# ---------------------------------------------------------------------------------------------------------- headline


def headline(content: ReportContent) -> str:
    """The figures that matter, first."""
    tiles = list(_tiles(content))
    protocol = ""
    if content.evaluation is not None:
        name = content.evaluation.protocol
        protocol = f'<p class="quiet">{escape(PROTOCOLS.get(name, name))}</p>'
    return protocol + (f'<div class="tiles">{"".join(tiles)}</div>' if tiles else "")


def _tiles(content: ReportContent) -> Iterator[str]:
    result, before = content.evaluation, content.before
    if result is not None:
        name, figure = result.figure
        change = _change(figure, before.figure[1]) if before is not None else ""
        yield _tile(percent(figure), f"{name}, {result.protocol}{change}", main=True)
        if before is not None:
            yield _tile(percent(before.figure[1]), f"{name} before")
        if "AP50" in result.numbers:
            yield _tile(percent(result.numbers["AP50"]), "AP50")
        if result.per_image is not None and not math.isnan(result.per_image.f1):
            yield _tile(percent(result.per_image.f1), f"F1 at score {result.per_image.score_threshold:.2f}")
        yield _tile(f"{sum(count.ground_truth for count in result.counts.values()):,}", "objects")
    if content.annotations is not None:
        yield _tile(f"{len(content.annotations):,}", "pictures")
    for name in FIGURES:
        validated = [row for row in content.history if _number(row.get(name)) is not None]
        if not validated:
            continue
        best = max(validated, key=lambda row: float(row[name]))
        final = None if result is None else result.figure[1]
        told = final is not None and abs(final - best[name]) < SAME_FIGURE
        yield (
            _tile(_when(best), "best on validation")
            if told
            else _tile(percent(best[name]), f"best validation {name}, {_when(best)}")
        )
    trained = [row for row in content.history if _number(row.get("loss")) is not None]
    if trained:
        yield _tile(f"{int(trained[-1]['step']):,}", "updates")


def _tile(figure: str, words: str, *, main: bool = False) -> str:
    """A figure and what it is; `words` is HTML of ours."""
    return f'<div class="tile{" main" * main}"><b>{figure}</b><span>{words}</span></div>'


def _when(row: Mapping[str, Any]) -> str:
    epoch = _number(row.get("epoch"))
    return f"epoch {epoch:.4g}" if epoch is not None else f"step {int(row['step']):,}"


def percent(value: float | None) -> str:
    """A fraction for people; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"  # noqa: RUF001 (a dash)


def _change(now: float | None, before: float | None) -> str:
    """The difference in points, coloured."""
    if now is None or before is None:
        return ""
    points = 100 * (now - before)
    return f' <em class="{"up" if points >= 0 else "down"}">{points:+.1f}</em>'


def _number(value: Any) -> float | None:
    """A finite number, else None: a row of a log may hold anything."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


# ---------------------------------------------------------------------------------------------------------- training


def training(history: Sequence[Mapping[str, Any]]) -> str:
    """Charts of losses, the figure of validation and learning rate."""
    rows = [row for row in history if _number(row.get("step")) is not None]
    axis = "epoch" if rows and all(_number(row.get("epoch")) is not None for row in rows) else "step"

    def column(key: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(_number(row[axis]), _number(row.get(key))) for row in rows]
        table = np.array([pair for pair in pairs if pair[1] is not None], float).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    cards = []
    x, loss = column("loss")
    if len(x):
        lines = [Series("", x, loss, faint=True), Series("loss, smoothed", x, smoothed(loss))]
        cards.append(_card("Loss", line_chart(lines, x_label=axis, label="loss")))
    parts = [("location", *column("loss_location"), 1), ("confidence", *column("loss_confidence"), 2)]
    lines = [Series(f"{name}, smoothed", x, smoothed(y), colour) for name, x, y, colour in parts if len(x)]
    if lines:
        chart = line_chart(lines, x_label=axis, label="location and confidence loss")
        cards.append(_card("Location and confidence loss", chart))
    for name in FIGURES:
        x, figure = column(name)
        if len(x):
            points = [Series("", x, figure, 2, dots=True)]
            chart = line_chart(points, x_label=axis, label=f"validation {name}", percent=True)
            cards.append(_card(f"Validation {name}", chart))
            cards += _classes_over_time(rows, axis)
    x, rate = column("learning_rate")
    if len(x):
        cards.append(_card("Learning rate", line_chart([Series("", x, rate, 3)], x_label=axis, label="learning rate")))
    return f'<div class="charts">{"".join(cards)}</div>' if cards else ""


def rate_search(found: RateSearch) -> str:
    """The loss against the rate that rose from update to update."""
    rates, losses = np.log10(np.asarray(found.rates, float)), np.asarray(found.losses, float)
    lines = [Series("", rates, losses, faint=True), Series("loss, smoothed", rates, smoothed(losses, window=10))]
    low, high = float(losses.min()), float(np.quantile(losses, 0.9))
    for name, rate, colour in (("suggested", found.suggested, 2), ("the recipe's", found.recipe, 3)):
        place = np.full(2, math.log10(rate))
        lines.append(Series(f"{name}: {rate:.2g}", place, np.array([low, high]), colour))
    chart = line_chart(
        lines, x_label="learning rate, as a power of ten", label="loss against learning rate", y_range=(low, high)
    )
    return f'<div class="charts">{_card("Loss as the rate rises", chart)}</div>'


def _classes_over_time(rows: Sequence[Mapping[str, Any]], axis: str) -> list[str]:
    """One line a class; of many the three best and the three worst at the end."""
    judged = [row for row in rows if isinstance(row.get("per_class"), dict)]
    if len(judged) < 2:
        return []
    final = {name: ap for name, ap in judged[-1]["per_class"].items() if _number(ap) is not None}
    names = sorted(final, key=lambda name: -final[name])
    few = names if len(names) <= COLOURS else [*names[: COLOURS // 2], *names[-(COLOURS // 2) :]]
    lines = []
    for colour, name in enumerate(few):
        points = [(row[axis], row["per_class"].get(name)) for row in judged]
        table = np.array([point for point in points if _number(point[1]) is not None], float).reshape(-1, 2)
        lines.append(Series(name, table[:, 0], table[:, 1], colour))
    title = "AP of each class" if len(few) == len(names) else f"AP of the best and worst of {len(names)} classes"
    return [_card(title, line_chart(lines, x_label=axis, label=title, percent=True))] if lines else []


def _card(title: str, body: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{body}</div>'


# -------------------------------------------------------------------------------------------------------- evaluation


def classes(result: Evaluation, before: Evaluation | None) -> str:
    """The table of classes, best first, those without ground-truth boxes last."""
    if not result.per_class:
        return ""
    names = sorted(result.per_class, key=lambda name: -(-1.0 if (ap := result.per_class[name]) is None else ap))
    then = "<th>before</th><th>change</th>" if before is not None else ""
    head = f"<tr><th>class</th><th></th><th>AP</th>{then}<th>objects</th><th>found</th><th>detections</th></tr>"
    rows = [_class_row(name, result, before) for name in names]
    note = "".join(
        f'<p class="quiet">{count:,} detections of {escape(name)}, a class that the data set does not have.</p>'
        for name, count in result.unknown_classes.items()
    )
    return f'<div class="card scroll"><table>{head}{"".join(rows)}</table>{note}</div>'


def _class_row(name: str, result: Evaluation, before: Evaluation | None) -> str:
    ap, count = result.per_class[name], result.counts[name]
    bar = f'<div><i style="width:{100 * ap:.1f}%"></i></div>' if ap is not None else ""
    cells = [f"<td>{escape(name)}</td>", f'<td class="bar">{bar}</td>', f"<td>{percent(ap)}</td>"]
    if before is not None:
        then = before.per_class.get(name)
        cells += [f"<td>{percent(then)}</td>", f"<td>{_change(ap, then)}</td>"]
    cells += [f"<td>{value:,}</td>" for value in (count.ground_truth, count.true_positives, count.detections)]
    return f"<tr>{''.join(cells)}</tr>"


def numbers(result: Evaluation, before: Evaluation | None) -> str:
    """The protocol's further figures: COCO's twelve; those of proposals stand in their table."""
    if result.protocol == "proposals":
        return ""
    tiles = []
    for name, value in result.numbers.items():
        change = _change(value, before.numbers.get(name)) if before is not None else ""
        tiles.append(_tile(percent(value), escape(name) + change))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def proposals(result: Evaluation) -> str:
    """Recall against the number of proposals, as a chart and in figures."""
    recall = result.proposals
    if recall is None:
        return ""
    columns = recall.columns()
    counts = np.array(recall.counts, float)
    lines = [Series(name, counts, values, i, dots=True) for i, (name, values) in enumerate(columns.items())]
    chart = line_chart(
        lines,
        x_label="proposals an image",
        label="recall against the number of proposals",
        y_range=(0, 1),
        percent=True,
        log_x=True,
    )
    head = f"<tr><th>proposals</th>{''.join(f'<th>{name}</th>' for name in columns)}</tr>"
    rows = [
        f"<tr><td>{count:,}</td>{''.join(f'<td>{percent(value)}</td>' for value in values)}</tr>"
        for count, *values in zip(recall.counts, *columns.values(), strict=True)
    ]
    words = (
        f"An image has {recall.per_image:,.4g} proposals on average; one with fewer than asked for gives all it has."
    )
    table = f'<div class="card scroll"><table>{head}{"".join(rows)}</table></div>'
    chart = _card("Recall against the number of proposals", chart)
    return f'<p class="quiet">{words}</p><div class="charts">{chart}{table}</div>'


def curves(result: Evaluation, before: Evaluation | None) -> str:
    """A small precision-recall curve for each class; of many classes, those with the most objects."""
    names = sorted(result.curves, key=lambda name: -result.counts[name].ground_truth)
    left_out = len(names) - CURVES_SHOWN
    shown = names[:CURVES_SHOWN]
    figures = []
    for name in shown:
        lines = [_curve(result, name, 0)]
        if before is not None and name in before.curves:
            lines.insert(0, _curve(before, name, 1))
        chart = curve_chart(lines, label=f"precision against recall of {name}")
        caption = f'<h3>{escape(name)} <span class="quiet">{percent(result.per_class[name])}</span></h3>'
        figures.append(f'<div class="card">{caption}{chart}</div>')
    if not figures:
        return ""
    words = "Precision (up) against recall (right), each from 0 to 100%, at an overlap of 0.5."
    words += " Orange: before." if before is not None else ""
    if left_out > 0:
        words += f" The {CURVES_SHOWN} classes with the most objects; {left_out} more are in the table."
    return f'<p class="quiet">{words}</p><div class="curves">{"".join(figures)}</div>'


def _curve(result: Evaluation, name: str, colour: int) -> Series:
    curve = result.curves[name]
    start = curve.precision[:1]
    recall, precision = np.append(start * 0, curve.recall), np.append(start, curve.precision)
    return Series("", recall, precision, colour, faint=colour > 0)


# ------------------------------------------------------------------------------------------------- images and rest


def images(gallery: Gallery, shown: Sequence[int]) -> str:
    """Figures of these images with the key to their colours."""
    if not shown:
        return ""
    threshold = gallery.images.score_threshold
    words = f"Detections that score at least {threshold:.2f}, where F1 of the whole set is best; hits overlap by 0.5."
    figures = "".join(gallery.figure(index) for index in shown)
    return f'<p class="quiet">{words}</p>{LEGEND}<div class="gallery">{figures}</div>'


def showcase(items: Sequence[tuple[str, np.ndarray]]) -> str:
    """Figures of finished images with their captions."""
    figures = "".join(shown_as_it_is(image, caption) for caption, image in items)
    return f'<div class="gallery">{figures}</div>' if figures else ""


def lines(texts: Sequence[str]) -> str:
    """A list of lines."""
    return f'<div class="card"><ul>{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul></div>' if texts else ""


def configuration(settings: Mapping[str, Any]) -> str:
    """Settings by name; nested ones as `outer.inner`."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in _flat(settings))
    return f'<div class="card"><dl>{rows}</dl></div>' if rows else ""


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(one, dict) for one in value):
            for number, one in enumerate(value, 1):
                said = (f"{key.replace('_', ' ')} {_short(inner)}" for key, inner in one.items() if inner is not None)
                yield f"{prefix}{name}.{number}", ", ".join(said)
        else:
            yield f"{prefix}{name}", value
