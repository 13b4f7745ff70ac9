"""Decoding, per-class NMS and the limits as a graph, in ONNX's own words; OpenVINO reads it, too.

OpenVINO's own operations for this are not used: in version 2026.4 DetectionOutput writes beyond its memory, and
MulticlassNms gives one image of a batch the boxes of another.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

from singleshot.shapes import Float32
from singleshot.spec import ModelSpec

OPSET = 20
_DECODE = """
    shift, growth = Split <axis = 2, num_outputs = 2> (offsets)
    moved = Mul (shift, centre_factors)
    centres = Add (moved, default_centres)
    scaled = Mul (growth, size_variances)
    grown = Exp (scaled)
    halves = Mul (grown, half_sizes)
    first_corners = Sub (centres, halves)
    last_corners = Add (centres, halves)
    boxes = Concat <axis = 2> (first_corners, last_corners)
"""
# The best top_k of each class; of those that tie with the last one, the first. TopK's own choice differs by engine.
# count_above is added, not taken from top_k: that OpenVINO 2026.4 fuses, wrongly for all images but a batch's first.
_CUT = """
    best, best_places = TopK <axis = 2> (of_classes, top_k)
    worst = ReduceMin <keepdims = 1> (best, last_axis)
    above = Greater (of_classes, worst)
    ones_above = Cast <to = 6> (above)
    count_above = ReduceSum <keepdims = 1> (ones_above, last_axis)
    ties = Equal (of_classes, worst)
    ones_tied = Cast <to = 6> (ties)
    places_in_ties = CumSum (ones_tied, box_axis)
    places_of_ties = Add (places_in_ties, count_above)
    in_time = LessOrEqual (places_of_ties, longest_list)
    passing_ties = And (ties, in_time)
    passes = Or (above, passing_ties)
    scores = Where (passes, of_classes, nothing)
"""
_NMS = """
    kept = NonMaxSuppression (boxes, scores, most_of_class, nms_threshold, score_threshold)
    kept_scores = GatherND (scores, kept)
    zeros = Mul (scores, nothing)
    only_kept = ScatterND (zeros, kept, kept_scores)
    flat = Reshape <allowzero = 0> (only_kept, batch_and_rest)
    ranked, places = TopK <axis = 1> (flat, keep_top_k)
    lists = Div (places, box_count)
    rows = Mod (places, box_count)
    LABELS
    rows_of_box = Unsqueeze (rows, last_axis)
    ranked_boxes = GatherND <batch_dims = 1> (boxes, rows_of_box)
    label_values = Cast <to = 1> (labels)
    label_column = Unsqueeze (label_values, last_axis)
    score_column = Unsqueeze (ranked, last_axis)
    table = Concat <axis = 2> (label_column, score_column, ranked_boxes)
    found = Greater (ranked, nothing)
    found_places = NonZero (found)
    found_rows = Transpose <perm = [1, 0]> (found_places)
    detections = GatherND (table, found_rows)
    found_numbers = Cast <to = 7> (found)
    counts = ReduceSum <keepdims = 0> (found_numbers, one)
"""


def detection_graph(
    spec: ModelSpec, default_boxes: Float32[np.ndarray, "K 4"], *, ir_version: int = 10
) -> onnx.ModelProto:
    """`offsets` and `probabilities` -> `detections` and `counts`, see `runtime.engine`.

    Caffe's DetectionOutput (plain NMS, eta 1), or one list for all classes where the settings say so. Equal scores, of
    which a network at low precision gives many, are cut to top_k as there: the lower box stays.
    """
    settings = spec.postprocess
    count, classes = len(default_boxes), spec.num_classes - 1
    lists = 1 if settings.across_classes else classes
    cut = 0 <= settings.top_k < count
    most = settings.keep_top_k if settings.keep_top_k >= 0 else count * lists
    variances = np.array(spec.boxes.variances, np.float32)
    sizes = default_boxes[:, 2:] - default_boxes[:, :2]
    constants = {
        "centre_factors": variances[:2] * sizes,
        "default_centres": (default_boxes[:, :2] + default_boxes[:, 2:]) / 2,
        "size_variances": variances[2:],
        "half_sizes": sizes / 2,
        "nothing": np.float32(0),
        "last_axis": np.array([2]),
        "one": np.array([1]),
        "class_axis": np.array([1]),
        "after": np.array([2**31]),
        "top_k": np.array([settings.top_k]),
        "longest_list": np.int32(settings.top_k),
        "box_axis": np.int32(2),
        "most_of_class": np.array([count]),
        "nms_threshold": np.array([settings.nms_threshold], np.float32),
        "score_threshold": np.array([settings.score_threshold], np.float32),
        "batch_and_rest": np.array([0, -1]),
        "keep_top_k": np.array([min(most, count * lists)]),
        "box_count": np.int64(count),
    }
    used = set(constants) - (set() if cut else {"top_k", "longest_list", "box_axis"})
    used -= set() if settings.across_classes else {"class_axis"}
    scores = "of_classes" if cut else "scores"
    labels = "labels = Identity (lists)"
    scored = f"{scores} = Slice (by_class, one, after, one)"
    if settings.across_classes:
        labels = "labels = GatherElements <axis = 1> (best_class, rows)"
        scored = f"""
            foreground = Slice (by_class, one, after, one)
            {scores} = ReduceMax <keepdims = 1> (foreground, class_axis)
            best_class = ArgMax <axis = 1, keepdims = 0> (foreground)"""
    text = f"""
        <ir_version: {ir_version}, opset_import: ["" : {OPSET}]>
        detection (float[batch, {count}, 4] offsets, float[batch, {count}, {classes + 1}] probabilities)
            => (float[found, 6] detections, int64[batch] counts)
        {{ {_DECODE}
            by_class = Transpose <perm = [0, 2, 1]> (probabilities)
            {scored}
            {_CUT if cut else ""}
            {_NMS.replace("LABELS", labels)} }}"""
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(constants[name]), name) for name in sorted(used))
    return model
