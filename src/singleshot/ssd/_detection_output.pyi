import numpy as np
from jaxtyping import Float32, Int64

def detection_output(
    offsets: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Float32[np.ndarray, 4] | Float32[np.ndarray, "K 4"],
    surely_background: float,
    score_threshold: float,
    nms_threshold: float,
    top_k: int,
    keep_top_k: int,
    nms_eta: float,
    out_boxes: Float32[np.ndarray, "room 4"],
    out_scores: Float32[np.ndarray, " room"],
    out_labels: Int64[np.ndarray, " room"],
    /,
) -> tuple[int, int]: ...
