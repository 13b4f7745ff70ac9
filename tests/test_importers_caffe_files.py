"""Caffe's files by hand: the text of a .prototxt, the bytes of a .caffemodel, and broken ones of both."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from caffe_fixtures import blob, field, floats, new_layer, varint
from singleshot.errors import ModelError
from singleshot.weights.importers.caffe_proto import Message, parse_text, read_caffemodel

if TYPE_CHECKING:
    from pathlib import Path


def test_prototxt_by_hand() -> None:
    net = parse_text("a: 1 # note { \n m { b: \"x { y\" b: 'z' } m < c: -2.5e1 > l: [1, 2] t: true; e: MAX", "net")
    assert net.number("a", 0) == 1
    assert net.messages("m")[0].texts("b") == ["x { y", "z"]
    assert net.messages("m")[1].number("c", 0) == -25
    assert net.numbers("l") == [1, 2]
    assert net.flag("t", default=False)
    assert net.text("e") == "MAX"
    assert net.message("none") == Message()
    assert net.number("none", 7) == 7
    assert parse_text("") == Message()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {", "ends inside a message"),
        ("a", "ends behind a"),
        ("a:", "ends behind a"),
        ("}", "line 1: '}' is not expected"),
        ("a: 1\n\n]", r"line 3: '\]' is not expected"),
        ("a { b: 1 >", "'>' is not expected"),
        ("a: }", "a has no value"),
        ('a: "cut', "line 1: cannot read"),
        ("a: 1 \x00", "cannot read"),
        ("a {" * 100_000, "not expected|ends inside"),
    ],
)
def test_broken_prototxt_is_refused_with_the_line(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_text(text, "net.prototxt")


@pytest.mark.parametrize("value", ["x", "nan", "inf", "1e999"])
def test_numbers_must_be_finite(value: str) -> None:
    with pytest.raises(ModelError, match="a must be a"):
        parse_text(f"a: {value}").number("a", 0)


def test_new_and_old_layers_by_hand(tmp_path: Path) -> None:
    legacy = b"".join(varint(n << 3) + varint(v) for n, v in ((1, 2), (2, 1), (3, 1), (4, 2))) + field(
        5, floats(1, 2, 3, 4)
    )
    old = field(2, field(4, b"old") + varint(5 << 3) + varint(4) + field(6, legacy))
    double = field(7, varint(1 << 3) + varint(2)) + field(8, struct.pack("<2d", 0.5, -0.5))
    single = field(7, field(1, varint(2))) + b"".join(varint(5 << 3 | 5) + floats(v) for v in (7, 8))  # not packed
    unknown = varint(50 << 3) + varint(300) + varint(51 << 3 | 1) + b"12345678" + field(52, b"?")
    path = tmp_path / "net.caffemodel"
    path.write_bytes(
        field(1, b"net") + unknown + old + new_layer("new", blob([1, 2], [2, 1]), double, single) + new_layer("relu")
    )
    layers = read_caffemodel(path)
    assert list(layers) == ["old", "new"]  # what has no blobs is left out
    assert layers["old"].blobs[0].tolist() == [[[[1, 2]]], [[[3, 4]]]]
    assert [b.tolist() for b in layers["new"].blobs] == [[[1], [2]], [0.5, -0.5], [7, 8]]
    assert all(b.dtype == np.float32 for b in layers["new"].blobs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no layer with weights"),
        (b"<html>", "no whole .caffemodel"),
        (b"\xff" * 20, "no whole .caffemodel"),
        (new_layer("a", blob([1, 2], [3])), r"shape \[3\] has 2 values"),
        (new_layer("a", blob([1, 2], [2**40, 2**40])), "has 2 values"),
        (new_layer("a", field(5, b"123")), "no whole .caffemodel"),
        (new_layer("a", blob([1], [1]))[:-2], "cut short"),
        (field(2, field(4, b"split")), "no layer with weights"),
    ],
)
def test_broken_caffemodels_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net.caffemodel").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_caffemodel(tmp_path / "net.caffemodel")
