from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from singleshot.errors import UnknownNameError
from singleshot.ssd.coder import decode, encode

VARIANCES = (0.1, 0.1, 0.2, 0.2)
CODES = ("center_size", "corner", "corner_size")
NUMBERS = st.floats(-1, 2, width=32)
SIZES = st.floats(0.0625, 2, width=32)


@st.composite
def boxes(draw, count):
    rows = [(draw(NUMBERS), draw(NUMBERS), draw(SIZES), draw(SIZES)) for _ in range(count)]
    return np.array([[x, y, x + w, y + h] for x, y, w, h in rows], np.float32)


PAIRS = st.integers(1, 5).flatmap(lambda n: st.tuples(boxes(n), boxes(n)))


def slow_encode(box, default, variances, code):
    """One pair, one number at a time, in float64."""
    (x1, y1, x2, y2), (dx1, dy1, dx2, dy2) = map(float, box), map(float, default)
    width, height = dx2 - dx1, dy2 - dy1
    if code == "center_size":
        offsets = [
            ((x1 + x2) / 2 - (dx1 + dx2) / 2) / width,
            ((y1 + y2) / 2 - (dy1 + dy2) / 2) / height,
            math.log((x2 - x1) / width),
            math.log((y2 - y1) / height),
        ]
    else:
        offsets = [x1 - dx1, y1 - dy1, x2 - dx2, y2 - dy2]
        if code == "corner_size":
            offsets = [offsets[0] / width, offsets[1] / height, offsets[2] / width, offsets[3] / height]
    return [offset / variance for offset, variance in zip(offsets, variances, strict=True)]


def test_a_worked_example_of_equation_2():
    default = np.array([[0.0, 0.0, 0.5, 0.25]], np.float32)  # centre (0.25, 0.125)
    box = np.array([[0.25, 0.125, 0.75, 0.625]], np.float32)  # centre (0.5, 0.375), size (0.5, 0.5)
    expected = [0.25 / 0.5 / 0.1, 0.25 / 0.25 / 0.1, 0.0, math.log(2) / 0.2]
    np.testing.assert_allclose(encode(box, default, VARIANCES)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(decode(encode(box, default, VARIANCES), default, VARIANCES), box, atol=1e-6)


def test_corner_codes_by_hand():
    default = np.array([[0.0, 0.0, 0.5, 0.25]], np.float32)
    box = np.array([[0.25, 0.125, 0.75, 0.625]], np.float32)
    ones = (1.0, 1.0, 1.0, 1.0)
    assert encode(box, default, ones, code="corner")[0].tolist() == [0.25, 0.125, 0.25, 0.375]
    assert encode(box, default, ones, code="corner_size")[0].tolist() == [0.5, 0.5, 0.5, 1.5]


@pytest.mark.parametrize("code", CODES)
@given(pair=PAIRS)
def test_encode_equals_the_slow_loop_in_both_libraries(code, pair):
    box, default = pair
    variances = (0.1, 0.15, 0.2, 0.25)
    expected = [slow_encode(b, d, variances, code) for b, d in zip(box, default, strict=True)]
    fast = encode(box, default, variances, code=code)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-3)  # differences of float32 over 0.06 x 0.1
    as_tensors = encode(torch.tensor(box), torch.tensor(default), variances, code=code)
    np.testing.assert_allclose(as_tensors.numpy(), fast, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("in_target", [False, True])
@given(pair=PAIRS)
def test_decode_inverts_encode(code, in_target, pair):
    box, default = pair
    options = {"code": code, "variance_in_target": in_target}
    np.testing.assert_allclose(
        decode(encode(box, default, VARIANCES, **options), default, VARIANCES, **options), box, atol=1e-5
    )
    tensors = torch.tensor(box), torch.tensor(default)
    back = decode(encode(*tensors, VARIANCES, **options), tensors[1], VARIANCES, **options)
    np.testing.assert_allclose(back.numpy(), box, atol=1e-5)


@pytest.mark.parametrize("code", CODES)
def test_variance_in_target_is_a_variance_of_one(code):
    box, default = np.array([[0.1, 0.2, 0.5, 0.9]], np.float32), np.array([[0.0, 0.1, 0.4, 0.6]], np.float32)
    ones = (1.0, 1.0, 1.0, 1.0)
    raw = encode(box, default, VARIANCES, code=code, variance_in_target=True)
    np.testing.assert_array_equal(raw, encode(box, default, ones, code=code))
    np.testing.assert_array_equal(
        decode(raw, default, VARIANCES, code=code, variance_in_target=True), decode(raw, default, ones, code=code)
    )
    np.testing.assert_allclose(encode(box, default, VARIANCES, code=code) * VARIANCES, raw, rtol=1e-6)


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_leading_axes_broadcast_and_variances_may_be_rows(library):
    default = library(np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1]], np.float32))
    batch = library(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    rows = library(np.array([[0.1, 0.1, 0.2, 0.2], [0.2, 0.3, 0.1, 0.1], [1, 1, 1, 1]], np.float32))
    decoded = decode(batch, default, rows)
    assert tuple(decoded.shape) == (2, 3, 4)
    for image in range(2):
        for row in range(3):
            alone = decode(batch[image, row], default[row], tuple(float(v) for v in rows[row]))
            np.testing.assert_allclose(np.asarray(decoded[image, row]), np.asarray(alone), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(encode(decoded, default, rows)), np.asarray(batch), atol=1e-4)


def test_the_exponential_is_not_clamped():
    """Ports stop at log(1000 / 16); Caffe does not."""
    default = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    decoded = decode(np.array([[0, 0, 50, 50]], np.float32), default, VARIANCES)
    np.testing.assert_allclose(decoded[0, 2] - decoded[0, 0], math.exp(10), rtol=1e-5)


def test_clip_cuts_to_the_image():
    default = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    offsets = np.array([[5.0, -5.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(decode(offsets, default, VARIANCES)[0], [0.5, -0.5, 1.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(decode(offsets, default, VARIANCES, clip=True)[0], [0.5, 0, 1, 0.5], atol=1e-6)


def test_gradients_flow_through_decoding():
    offsets = torch.zeros(1, 4, requires_grad=True)
    decode(offsets, torch.tensor([[0.0, 0.0, 0.5, 0.5]]), VARIANCES)[0, 2].backward()
    np.testing.assert_allclose(offsets.grad, [[0.5 * 0.1, 0, 0.25 * 0.2, 0]], rtol=1e-6)


def test_no_boxes_at_all():
    none = np.zeros((0, 4), np.float32)
    assert encode(none, none, VARIANCES).shape == (0, 4)
    assert decode(none, none, VARIANCES).shape == (0, 4)


def test_an_unknown_code_is_named():
    box = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    with pytest.raises(UnknownNameError, match="center_size"):
        encode(box, box, VARIANCES, code="centre_size")
    with pytest.raises(UnknownNameError, match="centre_size"):
        decode(box, box, VARIANCES, code="centre_size")
