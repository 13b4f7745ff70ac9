"""Convolutions by Winograd's products: the same numbers, and only where they gain."""

from __future__ import annotations

import numpy as np
import pytest

from singleshot.runtime.openvino_core import core, openvino, opset9
from singleshot.runtime.winograd import FILTERS, INPUTS, OUTPUTS, with_winograd

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def one_convolution(
    height: int,
    width: int,
    *,
    channels: int = 128,
    outputs: int = 128,
    batch: int = 1,
    stride: int = 1,
    half: bool = False,
) -> openvino.Model:
    random = np.random.default_rng(0)
    values = (random.normal(size=(outputs, channels, 3, 3)) / 34).astype(np.float16 if half else np.float32)
    filters = opset9.constant(values)
    if half:
        filters = opset9.convert(filters, openvino.Type.f32)
    given = opset9.parameter([batch, channels, height, width], openvino.Type.f32)
    result = opset9.convolution(given, filters, [stride] * 2, [1, 1], [1, 1], [1, 1])
    return openvino.Model([opset9.result(opset9.relu(result))], [given], "one")


def kinds(model: openvino.Model) -> list[str]:
    return [layer.get_type_name() for layer in model.get_ops()]


def test_the_transforms_are_a_convolution() -> None:
    """A^T ((G g) * (B^T d)) = correlation of six values with three, to the last digit of float64."""
    random = np.random.default_rng(1)
    values, taps = random.normal(size=6), random.normal(size=3)
    products = (FILTERS @ taps) * (INPUTS @ values)
    np.testing.assert_allclose(OUTPUTS @ products, np.correlate(values, taps, mode="valid"), atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (25, 38), (31, 26)])
@pytest.mark.parametrize("half", [False, True])
def test_the_graph_says_the_same(height: int, width: int, half: bool) -> None:
    model = one_convolution(height, width, outputs=160, half=half)
    image = np.random.default_rng(2).normal(size=(1, 128, height, width)).astype(np.float32)
    expected = core().compile_model(model, "CPU", EXACT)(image)[0]
    replaced = with_winograd(model)
    assert "Convolution" not in kinds(replaced)
    result = core().compile_model(replaced, "CPU", EXACT)(image)[0]
    assert np.abs(result - expected).max() < 5e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"batch": 2}, {"channels": 64}, {"outputs": 84}, {"height": 19}, {"height": 150}],
    ids=str,
)
def test_what_would_not_gain_is_left_alone(options: dict[str, int]) -> None:
    model = one_convolution(**{"height": 38, "width": 38, **options})  # type: ignore[arg-type]
    assert "Convolution" in kinds(with_winograd(model))
