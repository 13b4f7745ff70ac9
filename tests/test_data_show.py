from __future__ import annotations

import re
from pathlib import Path

import pytest

import data_fixtures as drawn
from singleshot.cli.main import run
from singleshot.commands.data_show import ShowOptions, show
from singleshot.errors import RequestError

BOX = ("3", "4", "30", "20")


def faulty_set(folder: Path) -> Path:
    """Twelve images: dogs, every third also a cat; image 5 has an empty box, image 7 a class of markup."""
    images = {f"i{number:02}": [("dog", BOX), *([("cat", BOX)] if number % 3 == 0 else [])] for number in range(12)}
    images["i05"].append(("dog", ("5", "5", "5", "9")))
    images["i07"] = [("<script>alert(1)</script>", BOX)]
    return drawn.voc(
        folder,
        {
            name: drawn.xml(objects).replace("<script>alert(1)</script>", "&lt;script&gt;")
            for name, objects in images.items()
        },
    )


def test_the_page_shows_images_with_their_classes_and_faults(tmp_path: Path) -> None:
    page = show(faulty_set(tmp_path / "set"), ShowOptions(tmp_path / "page.html"))
    assert (page.shown, page.images, len(page.report.faults)) == (12, 12, 1)
    text = (tmp_path / "page.html").read_text()
    assert text.count("<figure>") == text.count("data:image/jpeg") == 12
    items = re.findall(r'class="item ([^"]*)"', text)
    assert sum("faulty" in item.split() for item in items) == 1
    keys = dict(re.findall(r'for="show-(\w+)">([^<]+?) \d+</label>', text))
    assert set(keys.values()) == {"all", "with faults", "dog", "cat", "&lt;script&gt;"}
    cat = next(key for key, name in keys.items() if name == "cat")
    assert sum(cat in item.split() for item in items) == 4
    assert f"main:has(#show-{cat}:checked) .item:not(.{cat})" in text
    assert "object 2: zero area" in text
    assert "<script" not in text
    assert "1 box" in text
    assert "1 boxes" not in text


def test_images_with_faults_are_on_a_page_of_few(tmp_path: Path) -> None:
    page = show(faulty_set(tmp_path / "set"), ShowOptions(tmp_path / "page.html", most=4))
    text = (tmp_path / "page.html").read_text()
    assert page.shown == text.count("<figure>") == 4
    assert "JPEGImages/i05.png" in text
    assert "4 of 12 images" in text


def test_faults_of_no_image_are_listed(tmp_path: Path) -> None:
    source = faulty_set(tmp_path / "set")
    (source / "ImageSets/Main").mkdir(parents=True)
    (source / "ImageSets/Main/train.txt").write_text("i00\nnowhere\n")
    show(source, ShowOptions(tmp_path / "page.html"))
    assert "nowhere" in (tmp_path / "page.html").read_text()


def test_the_command_ends_with_1_where_there_are_faults_and_replaces_no_other_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = faulty_set(tmp_path / "set"), tmp_path / "page.html"
    assert run(["data", "show", str(source), "--out", str(out)]) == 1
    assert "12 of 12 images, 1 faults" in capsys.readouterr().out
    out.write_text("<html>mine</html>")
    assert run(["data", "show", str(source), "--out", str(out)]) == 2
    with pytest.raises(RequestError, match="--most"):
        ShowOptions(out, most=0)


def test_the_page_has_to_be_called_html(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = faulty_set(tmp_path / "set")
    assert run(["data", "show", str(source), "--out", str(tmp_path / "x")]) == 2
    assert "x.html" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
