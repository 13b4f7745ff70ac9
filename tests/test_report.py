from __future__ import annotations

import errno
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evaluation_examples import annotations, detections, random_set
from singleshot.errors import ImageError, MachineError
from singleshot.evaluate.protocols import evaluate
from singleshot.report import sections
from singleshot.report.chart import Series, line_chart, smoothed, ticks
from singleshot.report.page import ReportContent, render, write_report
from singleshot.report.sections import training


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
        configuration={"recipe": "caffe", "solver": {"momentum": 0.9}},
        open_image=grey,
    )
    return replace(full, **changes)


@pytest.mark.parametrize("protocol", ["voc07", "voc12", "coco"])
def test_the_page_has_every_part_and_needs_nothing_else(protocol, tmp_path):
    before = evaluate(*random_set(2), protocol)
    page = Page(render(content(protocol=protocol, before=before)))
    parts = ["a run", "Loss", "Validation mAP", "Learning rate", "Average precision by class", "Precision and recall"]
    parts += ["went best", "went worst", "ssd train images --epochs 3", "a note", "98.0% recall", "solver.momentum"]
    for words in (*parts, "mAP before", "change"):
        assert words in page.text, words
    assert ("COCO's numbers" in page.text) == (protocol == "coco")
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert name not in {"href", "xlink:href", "action", "srcset"}
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/jpeg;base64,")
    text = render(content(protocol=protocol))
    assert not re.search(r"https?://|url\(|@import", text)


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


def test_foreign_classes_are_named():
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
    def page(count):
        rows = [
            {"step": n, "epoch": n, "mAP": 0.5, "per_class": {f"k{i}": i / 40 for i in range(count)}} for n in (1, 2)
        ]
        return training(rows)

    assert all(f">k{i}<" in page(6).replace("</i>", ">") for i in range(6))
    many = page(20).replace("</i>", ">")
    assert "AP of the best and worst of 20 classes" in many
    assert [i for i in range(20) if f">k{i}<" in many] == [0, 1, 2, 17, 18, 19]


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

    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MachineError, match="no space left"):
        write_report(path, ReportContent("new"))
    assert "old" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["r.html"]


def test_undecodable_file_names_do_not_stop_the_page(tmp_path):
    write_report(tmp_path / "r.html", ReportContent("bad \udcff name"))
    assert "bad ? name" in (tmp_path / "r.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- charts


def test_ticks_are_round():
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(0, 23) == [0, 5, 10, 15, 20, 25]
    assert ticks(3, 3) == pytest.approx([2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6])


@settings(deadline=None)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks_embrace_the_range(low, span):
    marks = ticks(low, low + span)
    step = marks[1] - marks[0]
    assert marks[0] <= low + 1e-6 * step
    assert marks[-1] >= low + span - 1e-6 * step
    assert 3 <= len(marks) <= 8


def test_smoothing_keeps_a_constant_and_the_first_value():
    np.testing.assert_allclose(smoothed(np.full(50, 3.0)), 3.0)
    assert smoothed(np.array([5.0, 1.0, 1.0]))[0] == 5.0
    noisy = np.random.default_rng(0).normal(size=400)
    assert smoothed(noisy, window=50).std() < 0.3 * noisy.std()
    assert smoothed(np.zeros(0)).shape == (0,)


def test_long_lines_are_thinned_and_what_is_not_finite_is_left_out():
    x = np.arange(100_000.0)
    chart = line_chart([Series("a", x, np.where(x % 10 == 0, np.nan, 1.0))], x_label="x", label="y")
    assert len(chart) < 20_000
    assert "nan" not in chart


def test_one_point_is_a_dot():
    assert "<circle" in line_chart([Series("a", np.array([3.0]), np.array([1.0]))], x_label="x", label="y")


def test_nothing_to_draw():
    assert "Nothing to draw" in line_chart([Series("a", np.zeros(0), np.zeros(0))], x_label="x", label="y")


def test_nested_settings_are_read_not_decoded():
    settings = {"augment": {"samplers": [{"min_scale": 0.30000001, "min_iou": None, "trials": 50}], "mirror": 0.5}}
    page = sections.configuration(settings)
    assert "<dt>augment.samplers.1</dt><dd>min scale 0.3, trials 50</dd>" in page
    assert "<dt>augment.mirror</dt><dd>0.5</dd>" in page
    assert "{" not in page
