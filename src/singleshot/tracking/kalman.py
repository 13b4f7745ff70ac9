"""A Kalman filter with constant velocity for the four coordinates of boxes, for many boxes at once.

The coordinates are independent of each other and have the same noise, so that one 2 x 2 covariance (of position and
velocity) serves all four. The noise is that of ByteTrack in `trackers` 2.6 for a frame at 30 frames a second;
only its ratios matter, so that the size of the boxes does not.
"""

from __future__ import annotations

import numpy as np

from singleshot.shapes import Float

FIRST_COVARIANCE = np.eye(2)
MEASUREMENT_NOISE = 0.1
"""Variance of a detection's coordinate."""
PROCESS_NOISE = 0.01
"""Variance that position and velocity gain in a frame."""
FPS = 30.0
"""Frames a second that the noise is of."""


def first_state(boxes_xyxy: Float[np.ndarray, "n 4"]) -> tuple[Float[np.ndarray, "n 4 2"], Float[np.ndarray, "n 2 2"]]:
    """Position and velocity of each coordinate of boxes that stand still, and their covariance."""
    boxes = np.asarray(boxes_xyxy, np.float64)
    return np.stack([boxes, np.zeros_like(boxes)], axis=2), np.tile(FIRST_COVARIANCE, (len(boxes), 1, 1))


def predict(
    state: Float[np.ndarray, "n 4 2"], covariance: Float[np.ndarray, "n 2 2"], seconds: float
) -> tuple[Float[np.ndarray, "n 4 2"], Float[np.ndarray, "n 2 2"]]:
    """State and covariance so much later: x' = F x, P' = F P Fᵀ + t Q, with F = [[1, t], [0, 1]], t in frames."""
    frames = seconds * FPS
    transition = np.array([[1.0, frames], [0.0, 1.0]])
    return state @ transition.T, transition @ covariance @ transition.T + frames * PROCESS_NOISE * np.eye(2)


def update(
    state: Float[np.ndarray, "n 4 2"], covariance: Float[np.ndarray, "n 2 2"], boxes_xyxy: Float[np.ndarray, "n 4"]
) -> tuple[Float[np.ndarray, "n 4 2"], Float[np.ndarray, "n 2 2"]]:
    """State and covariance after a detection of each box: x' = x + K (z - H x), P' = (I - K H) P, with H = [1, 0]."""
    gain = covariance[:, :, 0] / (covariance[:, :1, 0] + MEASUREMENT_NOISE)
    surprise = boxes_xyxy - state[:, :, 0]
    return (
        state + surprise[:, :, None] * gain[:, None, :],
        covariance - gain[:, :, None] * covariance[:, None, 0, :],
    )
