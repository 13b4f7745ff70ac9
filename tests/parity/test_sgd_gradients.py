"""The loss and the gradients of a whole network at its first step against Caffe (golden 9).

Loss: 1e-5 relative. Gradients: 1e-5 of each array's largest value; Caffe's own BLAS builds differ by 2e-6 of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from golden import arrays, needs_golden
from golden_training import FOLDER, batch, by_caffe_name, initial_model, thinned
from singleshot.ssd.loss import multibox_loss
from singleshot.ssd.matching import assign

GRADIENTS = (
    sorted(key for key in np.load(FOLDER / "sgd.npz").files if key.startswith("grad/")) if FOLDER.is_dir() else []
)
pytestmark = needs_golden


@cache
def first_step() -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients (by Caffe's layer and blob) of the first batch at the initial weights."""
    model = initial_model()
    images, boxes, classes = batch(0)
    targets = assign(model.default_boxes, boxes, classes, model.spec.boxes.variances)
    loss = multibox_loss(model(images), targets)
    loss.total.backward()
    gradients = {f"grad/{name}": parameter.grad for name, parameter in by_caffe_name(model).items()}
    return loss.total.item(), {name: gradient.numpy() for name, gradient in gradients.items() if gradient is not None}


def test_first_loss_is_caffes() -> None:
    expected = float(arrays("9_training/sgd.npz")["loss0"])
    assert first_step()[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_caffes(name: str) -> None:
    expected = arrays("9_training/sgd.npz")[name]
    flat = thinned(first_step()[1][name])
    np.testing.assert_allclose(flat, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_every_gradient_is_compared() -> None:
    assert sorted(first_step()[1]) == GRADIENTS
