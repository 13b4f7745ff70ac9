from __future__ import annotations

import base64
import errno
import io
import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evaluation_examples import annotations, detections, random_set
from singleshot.draw import Mark
from singleshot.errors import ImageError, MachineError, RequestError
from singleshot.evaluate.diagnosis.diagnosis import diagnose
from singleshot.evaluate.protocols import evaluate
from singleshot.report import charts
from singleshot.report.charts import Axis, Series, curve_chart, line_chart, parts_chart, smoothed, stacked_chart
from singleshot.report.diagnosis import EXAMPLE_SIDE
from singleshot.report.diagnosis import render as render_diagnosis
from singleshot.report.images import LONGEST_SIDE, marked
from singleshot.report.page import (
    RateSearch,
    ReportContent,
    flat,
    number,
    rate_chart,
    render,
    training_charts,
    write_report,
)


class Page(HTMLParser):
    """Checks that tags nest, and collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def grey(_path):
    return np.full((200, 200, 3), 127, np.uint8)


def history(rows=40):
    steps = range(1, rows + 1)
    training = [
        {
            "step": s,
            "epoch": s / 10,
            "loss": 9 / s,
            "loss_location": 4 / s,
            "loss_confidence": 5 / s,
            "learning_rate": 0.1,
        }
        for s in steps
    ]
    return [*training, {"step": rows, "epoch": rows / 10, "mAP": 0.375, "per_class": {"cat": 0.375}}]


def content(seed=1, protocol="voc07", **changes):
    ground_truth, found = random_set(seed)
    full = ReportContent(
        title="a run",
        command="ssd train images --epochs 3",
        notes=["a note"],
        box_recall=["cat: 98.0% recall"],
        history=history(),
        evaluation=evaluate(ground_truth, found, protocol),
        annotations=ground_truth,
        detections=found,
        configuration={"recipe": "caffe", "optimizer": {"momentum": 0.9}},
        open_image=grey,
    )
    return replace(full, **changes)


@pytest.mark.parametrize("protocol", ["voc07", "voc12", "coco"])
def test_the_page_has_every_part_and_needs_nothing_else(protocol, tmp_path):
    before = evaluate(*random_set(2), protocol)
    page = Page(render(content(protocol=protocol, before=before)))
    parts = ["a run", "Loss", "Validation mAP", "Learning rate", "Average precision by class", "Precision and recall"]
    parts += ["went best", "went worst", "ssd train images --epochs 3", "a note", "98.0% recall", "optimizer.momentum"]
    for words in (*parts, "mAP before", "change"):
        assert words in page.text, words
    assert ("COCO's numbers" in page.text) == (protocol == "coco")
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert name not in {"href", "action", "srcset"}
        if name == "xlink:href":
            assert value.startswith("#")  # a marker of the same chart
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/jpeg;base64,")
    text = render(content(protocol=protocol))
    assert not re.search(r"https?://|url\((?!#)|@import", text)


def test_figures_are_those_of_the_evaluation():
    ground_truth = annotations([[(0, 0, 50, 50, 0)], [(0, 0, 50, 50, 1), (60, 60, 90, 90, 1)]])
    found = [detections([(0, 0, 50, 50, 0, 0.9)]), detections([(0, 0, 50, 50, 1, 0.8)])]
    page = Page(render(content(evaluation=evaluate(ground_truth, found), annotations=ground_truth, detections=found)))
    assert "77.3%" in page.text  # (1 + 6/11) / 2
    assert "54.5%" in page.text
    assert "1 of 2 found, 0 wrong" in page.text
    assert "epoch 4" in page.text  # the best validation
    assert "37.5%" in page.text


def test_best_and_worst_images_are_apart_and_in_order():
    page = render(content())
    images = content().evaluation.per_image
    shown = re.findall(r"<figcaption><b>images/(\d+)\.jpg", page)
    scores = [images.results[int(i)].f1 for i in shown]
    assert len(set(shown)) == len(shown) > 4
    half = (len(shown) + 1) // 2
    assert scores[:half] == sorted(scores[:half], reverse=True)
    assert scores[half:] == sorted(scores[half:])
    assert min(scores[:half]) >= max(scores[half:])


def test_images_are_opened_only_when_shown():
    opened = []

    def watched(path):
        opened.append(path)
        return grey(path)

    render(content(open_image=watched, images_shown=2))
    assert len(opened) == 4
    assert all(path.parts[0] == "set" for path in opened)


EVIL = "<script>alert('x')</script>&\"$a$_{"


def test_markup_in_names_stays_text():
    ground_truth, found = random_set(1)
    names = (EVIL, "class 1", '" onload="alert(1)')
    ground_truth = replace(ground_truth, class_names=names, files=tuple(f"{EVIL}{file}" for file in ground_truth.files))
    found = [replace(one, class_names=names) for one in found]
    result = evaluate(ground_truth, found)
    everywhere = content(evaluation=result, before=result, annotations=ground_truth, detections=found)
    words = {
        "title": EVIL,
        "command": EVIL,
        "notes": [EVIL],
        "box_recall": [EVIL],
        "configuration": {EVIL: {EVIL: EVIL}},
    }
    page = Page(render(replace(everywhere, **words)))
    assert "script" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count(EVIL) > 8


def test_unknown_classes_are_named():
    ground_truth = annotations([[(0, 0, 50, 50, 0)]])
    found = [detections([(0, 0, 50, 50, 0, 0.9)], class_names=("tram", "cat"))]
    page = Page(render(content(evaluation=evaluate(ground_truth, found), annotations=ground_truth, detections=found)))
    assert "1 detections of tram" in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"history": []},
        {"history": [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": None}, {"step": 3}, {}]},
        {"history": [{"step": 7, "epoch": 0.1, "loss": 2.0}]},
        {"history": [{"step": 1, "epoch": 1, "mAP": None}]},
        {"evaluation": None},
        {"annotations": None},
        {"detections": None},
        {"notes": [], "box_recall": [], "configuration": {}, "command": ""},
    ],
)
def test_missing_parts_leave_the_rest(changes):
    page = Page(render(content(**changes)))
    assert "a run" in page.text
    assert "nan" not in page.text.lower()


def test_the_history_of_each_class_is_drawn_of_many_the_ends_only():
    def chart(count):
        rows = [
            {"step": n, "epoch": n, "mAP": 0.5, "per_class": {f"k{i}": i / 40 for i in range(count)}} for n in (1, 2)
        ]
        titled = dict(training_charts(rows))
        return next((title, str(svg)) for title, svg in titled.items() if title.startswith("AP of"))

    assert all(f">k{i}<" in chart(6)[1].replace("</i>", ">") for i in range(6))
    title, many = chart(20)
    assert title == "AP of the best and worst of 20 classes"
    assert [i for i in range(20) if f">k{i}<" in many.replace("</i>", ">")] == [0, 1, 2, 17, 18, 19]


def test_a_title_alone_is_a_page():
    assert "alone" in Page(render(ReportContent("alone"))).text


def test_no_detections_and_no_ground_truth():
    for ground_truth in (annotations([[(0, 0, 50, 50, 0)]]), annotations([[]]), annotations([])):
        found = [detections([]) for _ in range(len(ground_truth))]
        result = evaluate(ground_truth, found)
        page = Page(render(content(evaluation=result, before=result, annotations=ground_truth, detections=found)))
        assert "nan" not in page.text


def test_a_image_that_cannot_be_read_is_named_and_the_page_is_written(tmp_path):
    def broken(path):
        raise ImageError(f"{path.name}: cut short")

    write_report(tmp_path / "report.html", content(open_image=broken))
    assert "cut short" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_default_reader_reads_files(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (200, 200), (10, 20, 30)).save(tmp_path / "images/000.jpg")
    ground_truth = annotations([[(0, 0, 50, 50, 0)]], root=tmp_path)
    found = [detections([(0, 0, 50, 50, 0, 0.9)])]
    page = render(
        ReportContent("x", evaluation=evaluate(ground_truth, found), annotations=ground_truth, detections=found)
    )
    assert page.count("data:image/jpeg;base64,") == 1


def test_the_page_stays_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    write_report(tmp_path / "r.html", content(history=history(20_000), open_image=lambda _path: noise))
    assert (tmp_path / "r.html").stat().st_size < 5_000_000


def test_a_full_disk_leaves_the_old_page_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "r.html"
    write_report(path, ReportContent("old"))

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match=r"r\.html"):
        write_report(path, ReportContent("new"))
    assert "old" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["r.html"]


def test_undecodable_file_names_do_not_stop_the_page(tmp_path):
    write_report(tmp_path / "r.html", ReportContent("bad \udcff name"))
    assert "bad ? name" in (tmp_path / "r.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- charts


def shown(chart):
    """Texts of a chart, in order."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


def test_axes_have_round_ticks_that_embrace_the_data():
    chart = line_chart([Series("a", np.array([1.0, 23.0]), np.array([0.0, 0.93]))], Axis("epoch"), Axis(), label="y")
    assert shown(chart) == ["0", "5", "10", "15", "20", "epoch", "0", "0.2", "0.4", "0.6", "0.8", "1"]
    chart = line_chart(
        [Series("a", np.array([1.0, 1000.0]), np.array([0.2, 0.4]))],
        Axis("k", log=True), Axis(limits=(0, 1), percent=True), label="y",
    )  # fmt: skip
    assert shown(chart) == ["1", "10", "100", "1,000", "k", "0%", "20%", "40%", "60%", "80%", "100%"]


@settings(deadline=None, max_examples=20)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks_embrace_any_range(low, span):
    marks = charts._ticks(low, low + span)
    step = marks[1] - marks[0]
    assert marks[0] <= low + 1e-6 * step
    assert marks[-1] >= low + span - 1e-6 * step
    assert 2 <= len(marks) <= 8


def test_the_first_steps_of_a_training_do_not_flatten_the_rest():
    losses = np.full(200, 2.0)
    losses[0] = 1e6
    chart = line_chart([Series("a", np.arange(200.0), losses)], Axis("step"), Axis(), label="loss")
    assert shown(chart)[-1] == "2"


def test_charts_take_the_pages_colours_and_point_to_nothing_outside():
    line = Series("a", np.arange(3.0), np.array([0.1, 0.5, 0.2]), colour=2, dots=True)
    drawn = [
        line_chart([line], Axis("x"), Axis(), label='a "chart"'),
        curve_chart([line], label="curve"),
        stacked_chart([line], ["1", "2", "3"], x_label="x", label="shares", lines=[line]),
        parts_chart(["S", "M", "L"], line.y, line.y / 10, whole=0.3, label="parts"),
    ]
    for chart in drawn:
        assert not re.search(r"#[0-9a-f]{6}|https?:|url\((?!#)|<style|font-family|xmlns", chart)
        Page(chart)
    assert "stroke: var(--c2)" in drawn[0]
    assert 'aria-label="a &#34;chart&#34;"' in drawn[0]


def test_the_rates_stand_in_the_legend_of_the_search():
    chart = rate_chart(RateSearch([1e-4, 1e-3, 1e-2], [3.0, 2.0, 4.0], suggested=1e-3, recipe=4e-3))
    assert "suggested: 0.001" in chart
    assert "the recipe&#39;s: 0.004" in chart
    assert shown(chart)[:3] == ["0.0001", "0.001", "0.01"]


def test_pages_without_matplotlib_are_refused_before_any_work(monkeypatch):
    charts.require_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match=r"singleshot\[evaluate\]"):
        charts.require_matplotlib()


def test_smoothing_keeps_a_constant_and_the_first_value():
    np.testing.assert_allclose(smoothed(np.full(50, 3.0)), 3.0)
    assert smoothed(np.array([5.0, 1.0, 1.0]))[0] == 5.0
    noisy = np.random.default_rng(0).normal(size=400)
    assert smoothed(noisy, window=50).std() < 0.3 * noisy.std()
    assert smoothed(np.zeros(0)).shape == (0,)


def test_long_lines_are_thinned_and_what_is_not_finite_is_left_out():
    x = np.arange(100_000.0)
    chart = line_chart([Series("a", x, np.where(x % 10 == 0, np.nan, 1.0))], Axis("x"), Axis(), label="y")
    assert len(chart) < 30_000
    assert "nan" not in chart


def test_one_point_is_a_dot():
    dot = Series("a", np.array([3.0]), np.array([1.0]))
    assert "<use" in line_chart([dot], Axis("x"), Axis(), label="y")


def test_nothing_to_draw():
    assert "Nothing to draw" in line_chart([Series("a", np.zeros(0), np.zeros(0))], Axis("x"), Axis(), label="y")


def test_nested_settings_are_read_not_decoded():
    settings = {"augment": {"samplers": [{"min_scale": 0.30000001, "min_iou": None, "trials": 50}], "mirror": 0.5}}
    assert list(flat(settings)) == [("augment.samplers.1", "min scale 0.3, trials 50"), ("augment.mirror", "0.5")]


# ------------------------------------------------------------------------------------------------- images in the page


def embedded(page):
    """Images of a page by the first words of their captions, decoded."""
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]*)"[^>]*>\s*<figcaption>(?:<b>)?([^<]*)', page)
    return {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data, name in found}


def coloured(path):
    """An image of 1000 x 500 pixels whose colour tells which one it is, its left half darker than its right."""
    number = int(path.stem)
    image = np.zeros((500, 1000, 3), np.uint8)
    image[:, :] = (40 * number + 20, 120, 230 - 40 * number)
    image[:, :500] //= 2
    return image


def one_object_an_image(count=4):
    """Ground truth on the left for even images and at the right for odd ones; half of them are found."""
    boxes = [(100, 100, 300, 400, 0) if i % 2 == 0 else (700, 100, 900, 400, 0) for i in range(count)]
    ground_truth = annotations([[box] for box in boxes])
    found = [detections([(*box[:4], 0, 0.9)] if i < count // 2 else []) for i, box in enumerate(boxes)]
    return ground_truth, found


def test_each_figure_shows_its_own_images_pixels():
    ground_truth, found = one_object_an_image()
    result = evaluate(ground_truth, found)
    page = render(
        ReportContent(
            "x", evaluation=result, annotations=ground_truth, detections=found, open_image=coloured, images_shown=2
        )
    )
    shown = embedded(page)
    assert sorted(shown) == [f"images/{i:03}.jpg" for i in range(4)]
    for name, image in shown.items():
        expected = coloured(Path(name))[450, 950].astype(int)
        assert abs(image[-5, -5].astype(int) - expected).max() < 12, name
        assert abs(image[-5, 5].astype(int) - expected // 2).max() < 12, name


def test_boxes_are_scaled_with_a_shrunk_image():
    ground_truth, found = one_object_an_image()
    result = evaluate(ground_truth, found)
    page = render(
        ReportContent(
            "x", evaluation=result, annotations=ground_truth, detections=found, open_image=coloured, images_shown=2
        )
    )
    for name, image in embedded(page).items():
        assert image.shape[:2] == (LONGEST_SIDE // 2, LONGEST_SIDE)
        plain = np.asarray(Image.fromarray(coloured(Path(name))).resize((LONGEST_SIDE, LONGEST_SIDE // 2))).astype(int)
        differs = abs(image.astype(int) - plain).max(axis=2) > 60
        columns = np.flatnonzero(differs[100:200].any(axis=0))  # below captions, between top and bottom
        left, right = (64, 192) if int(Path(name).stem) % 2 == 0 else (448, 576)
        assert abs(columns[0] - left) <= 4, name
        assert abs(columns[-1] - right) <= 4, name


def test_a_showcase_is_shrunk_to_the_page():
    page = render(ReportContent("x", showcase=[("big", np.full((900, 1800, 3), (10, 200, 30), np.uint8))]))
    (image,) = embedded(page).values()
    assert image.shape[:2] == (LONGEST_SIDE // 2, LONGEST_SIDE)
    assert abs(image[10, 10].astype(int) - (10, 200, 30)).max() < 8


def test_an_error_is_cut_out_of_its_own_image_and_marked_where_it_lies():
    ground_truth = annotations([[(100, 100, 300, 400, 0)], [(100, 100, 300, 400, 0)], [(100, 100, 300, 400, 0)]])
    error = (600, 200, 700, 250, 0, 0.9)  # on nothing, in the brighter half of image 1
    found = [detections([(100, 100, 300, 400, 0, 0.5)]), detections([error]), detections([])]
    page = render_diagnosis("x", diagnose(ground_truth, found), found, open_image=coloured)
    (name,) = [name for name in embedded(page) if name.startswith("cat 90%")]
    assert name == "cat 90%, images/001.jpg"
    image = embedded(page)[name].astype(int)
    zoom = EXAMPLE_SIDE / 220  # the box with six tenths of its sides around it
    assert image.shape[1] == EXAMPLE_SIDE
    assert abs(image[-3, -3] - coloured(Path("001.jpg"))[0, 900]).max() < 12
    middle = image[image.shape[0] // 2]
    red = np.flatnonzero(middle[:, 0] > middle[:, 2])  # the image itself is more blue
    assert abs(red[0] - 60 * zoom) <= 3
    assert abs(red[-1] - 160 * zoom) <= 3


def test_the_grid_and_default_boxes_lie_on_the_shrunk_image():
    box = Mark((250, 125, 750, 375), (0, 255, 0))
    image = marked(np.full((500, 1000, 3), 128, np.uint8), [box], grid_hw=(2, 4))
    assert image.shape[:2] == (LONGEST_SIDE // 2, LONGEST_SIDE)
    green = np.flatnonzero(image[140, :, 1] > 230)
    assert abs(green[0] - 160) <= 2
    assert abs(green[-1] - 480) <= 2
    lines = np.flatnonzero(image[20, :, 0] > 180)
    assert lines.tolist() == [160, 320, 480]


def test_what_a_log_holds_that_cannot_be_drawn_is_no_number() -> None:
    assert [number(value) for value in (2, 0.5, 10**400, -1e308, float("nan"), True, "1", None)] == [2, 0.5] + [
        None
    ] * 6
