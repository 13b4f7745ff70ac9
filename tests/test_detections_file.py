from __future__ import annotations

import json

import numpy as np
import pytest

from detections_writers import to_coco_results, to_document, write_devkit
from evaluation_examples import annotations, detections, random_set
from singleshot.errors import DataError, RequestError
from singleshot.evaluate.detections_file import SetNames, read_detections
from singleshot.evaluate.protocols import evaluate

CAT, DOG = 0, 1


@pytest.fixture
def ground_truth():
    return annotations([[(0, 0, 50, 50, CAT)], [(10, 10, 30, 30, DOG)], []], ids=["000012", "000013", "000200"])


@pytest.fixture
def detected():
    return [
        detections([(0, 0, 48, 50, CAT, 0.75), (1, 2, 3, 4, DOG, 0.5)]),
        detections([(10.25, 10, 30, 30, DOG, 0.25)]),
        detections([]),
    ]


def write_json(path, document):
    path.write_text(json.dumps(document))
    return path


def written(kind, folder, ground_truth, detected):
    if kind == "coco":
        return write_json(folder / "results.json", to_coco_results(ground_truth, detected))
    if kind == "ours":
        return write_json(folder / "found.json", to_document(ground_truth, detected, model="m"))
    write_devkit(folder / "devkit", ground_truth, detected)
    return {"devkit folder": folder / "devkit", "devkit glob": folder / "devkit" / "comp4_*_*.txt"}[kind]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=0.006)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
        assert a.names == b.names


KINDS = ["coco", "ours", "devkit folder", "devkit glob"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(kind, tmp_path, ground_truth, detected):
    assert_same(read_detections(written(kind, tmp_path, ground_truth, detected), ground_truth), detected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_evaluation_of_a_file_is_that_of_its_detections(kind, tmp_path):
    ground_truth, detected = random_set(5)
    read = read_detections(written(kind, tmp_path, ground_truth, detected), ground_truth)
    assert evaluate(ground_truth, read).to_json()["per_class"] == pytest.approx(
        evaluate(ground_truth, detected).to_json()["per_class"]
    )


def test_one_devkit_file_is_one_class(tmp_path, ground_truth, detected):
    paths = write_devkit(tmp_path, ground_truth, detected)
    assert [path.name for path in paths] == ["comp4_det_test_cat.txt", "comp4_det_test_dog.txt"]
    read = read_detections(paths[0], ground_truth)
    assert [of_image.names for of_image in read] == [["cat"], [], []]


def test_a_devkit_class_is_the_longest_that_fits(tmp_path):
    ground_truth = annotations([[(0, 0, 50, 50, 0)]], class_names=("rat", "big_rat"), ids=["7"])
    (tmp_path / "comp4_det_val_big_rat.txt").write_text("7 0.5 1 2 3 4\n\n")
    assert read_detections(tmp_path, ground_truth)[0].names == ["big_rat"]


def test_best_first_and_equal_scores_in_the_files_order(tmp_path, ground_truth):
    (tmp_path / "a_cat.txt").write_text("12 0.1 1 1 5 5\n000012 0.9 2 2 5 5\n12 0.1 3 3 5 5\n")
    read = read_detections(tmp_path / "a_cat.txt", ground_truth)[0]
    assert read.boxes[:, 0].tolist() == [2, 1, 3]


def test_images_without_a_word_are_reported(tmp_path, ground_truth, detected):
    notes = []
    read_detections(written("coco", tmp_path, ground_truth, detected), ground_truth, on_note=notes.append)
    assert notes == ["1 of 3 images are not in results.json: counted as without detections (images/002.jpg)"]
    read_detections(written("ours", tmp_path, ground_truth, detected), ground_truth, on_note=notes.append)
    assert len(notes) == 1  # our JSON lists images without detections


@pytest.mark.parametrize("file", ["images/001.jpg", "/somewhere/else/images/001.jpg", "001.jpg", "c:\\x\\001.jpg"])
def test_images_are_found_by_the_end_of_their_path(file, ground_truth):
    assert SetNames(ground_truth).image_by_file(file, "here") == 1


def test_ambiguous_names_name_nothing(ground_truth):
    twice = SetNames(ground_truth.subset([0, 0]))
    with pytest.raises(DataError, match="images/000"):
        twice.image_by_file("images/000.jpg", "here")
    with pytest.raises(DataError, match="000012"):
        twice.image_by_id("000012", "here")


# ------------------------------------------------------------------------------------------------------------ refusals

GOOD = {"image_id": 12, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "result 2: .*99"),
        ({"category_id": 7}, "result 2: category_id 7"),
        ({"category_id": []}, "category_id"),
        ({"bbox": [0, 0, 5]}, "result 2, bbox"),
        ({"bbox": [0, 0, 5, "5"]}, "'5'"),
        ({"bbox": [0, 0, 5, None]}, "None"),
        ({"score": True}, "True"),
    ],
)
def test_bad_coco_results(change, message, tmp_path, ground_truth):
    path = write_json(tmp_path / "r.json", [GOOD, GOOD | change])
    with pytest.raises(DataError, match=message):
        read_detections(path, ground_truth)


@pytest.mark.parametrize("field", GOOD)
def test_missing_fields_are_named(field, tmp_path, ground_truth):
    path = write_json(tmp_path / "r.json", [{k: v for k, v in GOOD.items() if k != field}])
    with pytest.raises(DataError, match=f'"{field}" is missing'):
        read_detections(path, ground_truth)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"file": "x.jpg", "detections": []}, "'x.jpg'"),
        ({"file": "000.jpg"}, '"detections" is missing'),
        ({"file": "000.jpg", "detections": [{"box": [0, 0, 1, 1], "label": "cot", "score": 1}]}, "did you mean cat"),
        (
            {"file": "000.jpg", "detections": [{"box": [0, 0, 1], "label": "cat", "score": 1}]},
            "detection 1, box",
        ),
        ({"file": "001.jpg", "detections": []}, "001.jpg.* twice"),
        ({"file": "000.jpg", "detections": 3}, '"detections".* int'),
        ({"file": "000.jpg", "detections": [{"box": [0, 0, 1, 1], "label": [], "score": 1}]}, "detection 1"),
        ("text", '"file" is missing'),
    ],
)
def test_bad_documents_of_ours(image, message, tmp_path, ground_truth):
    path = write_json(tmp_path / "d.json", {"images": [{"file": "001.jpg", "detections": []}, image]})
    with pytest.raises(DataError, match=message):
        read_detections(path, ground_truth)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{]", "line 1 column 3"),
        ('[{"score": NaN}]', "NaN"),
        ('[{"score": -Infinity}]', "-Infinity"),
        ("{}", '"images", got dict'),
        ("3", "got int"),
        ("[" * 100_000, "too deep"),
    ],
)
def test_bad_json(text, message, tmp_path, ground_truth):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_detections(tmp_path / "d.json", ground_truth)


def test_a_number_beyond_floats_is_refused(tmp_path, ground_truth):
    (tmp_path / "d.json").write_text(json.dumps([GOOD]).replace("0.5", "1e999"))
    with pytest.raises(DataError, match="finite"):
        read_detections(tmp_path / "d.json", ground_truth)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1" * 5001, "1e300"])
def test_numbers_beyond_all_sense_are_one_line(number, tmp_path, ground_truth):
    (tmp_path / "d.json").write_text(json.dumps([GOOD]).replace("0.5", number))
    with pytest.raises(DataError, match=r"finite|not JSON") as caught:
        read_detections(tmp_path / "d.json", ground_truth)
    assert len(str(caught.value)) < 400
    (tmp_path / "d.json").write_text(json.dumps([{**GOOD, "image_id": "1" * 5000}]))
    with pytest.raises(DataError, match="11111"):
        read_detections(tmp_path / "d.json", ground_truth)


def test_binary_is_refused(tmp_path, ground_truth):
    for name in ("d.json", "d_cat.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match=r"not UTF-8|not JSON"):
            read_detections(tmp_path / name, ground_truth)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("12 0.5 1 2 3", "line 2: .* 5 words"),
        ("99 0.5 1 2 3 4", "line 2: .*'99'"),
        ("12 nan 1 2 3 4", "line 2: .*'nan'"),
        ("12 0.5 1 2 3 inf", "'inf'"),
        ("12 0.5 1 2 3 four", "'four'"),
    ],
)
def test_bad_devkit_lines(line, message, tmp_path, ground_truth):
    (tmp_path / "comp4_det_test_cat.txt").write_text(f"12 0.5 1 2 3 4\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_detections(tmp_path, ground_truth)


def test_a_devkit_file_of_an_unknown_class(tmp_path, ground_truth):
    (tmp_path / "comp4_det_test_tram.txt").write_text("")
    with pytest.raises(DataError, match="comp4_det_test_tram"):
        read_detections(tmp_path, ground_truth)


@pytest.mark.parametrize("name", ["missing.json", "nothing_*.txt", ""])
def test_nothing_there(name, tmp_path, ground_truth):
    with pytest.raises(RequestError, match="comp4_det_test_car"):
        read_detections(tmp_path / name, ground_truth)


def test_ids_that_are_no_numbers_stay_text(tmp_path):
    ground_truth = annotations([[(0, 0, 50, 50, CAT)]], ids=["BloodImage_00001"])
    detected = [detections([(0, 0, 5, 5, CAT, 0.5)])]
    assert to_coco_results(ground_truth, detected)[0]["image_id"] == "BloodImage_00001"
    assert_same(read_detections(written("coco", tmp_path, ground_truth, detected), ground_truth), detected)


def test_coco_results_leave_out_classes_without_a_number(ground_truth):
    strange = [detections([(0, 0, 5, 5, 0, 0.5)], class_names=("tram",)), *[detections([])] * 2]
    assert to_coco_results(ground_truth, strange) == []
