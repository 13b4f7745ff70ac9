"""Detections of a batch on its own device, with the same rule and result as `postprocess` for each image.

Greedy NMS visits candidates one by one, which is slow on a GPU. Its result is the only fixed point of "a candidate is
kept unless a better kept one overlaps it too much". Starting from "all are kept", each round decides at least one more
candidate of each class, usually most of them, for all classes of all images at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from singleshot.boxes import pairwise_iou
from singleshot.shapes import Bool, Float, Int64
from singleshot.spec import Postprocess
from singleshot.ssd.coder import Code, decode
from singleshot.ssd.detection import RawDetections, check_shapes, postprocess
from singleshot.ssd.tensors import Predictions, probabilities

PAIRS_AT_ONCE = 2**23  # IoUs in memory at a time: about half a gigabyte with the intermediate results
LONGEST_LIST = 2048  # candidates of a class; beyond, their pairs do not fit into memory


@torch.no_grad()
def postprocess_batch(
    predictions: Predictions,
    default_boxes: Float[Tensor, "K 4"],
    variances: Sequence[float] | Float[Tensor, "K 4"],
    settings: Postprocess,
    *,
    code: Code = "center_size",
) -> list[RawDetections]:
    """Detections of each image, from raw predictions (softmax or sigmoid included).

    On a CPU by `postprocess`, image by image; elsewhere by `postprocess_on_device`, but for adaptive NMS (eta below 1),
    which needs a strict order, NMS across classes, and a top_k of -1 or in the thousands, whose lists may be too long.

    Raises:
        ModelError: shapes that do not belong together.
    """
    offsets, scores = predictions.offsets.float(), probabilities(predictions.logits.float(), settings.scores)
    in_order = settings.nms_eta < 1 or settings.across_classes or not 0 <= settings.top_k <= LONGEST_LIST
    if offsets.device.type != "cpu" and not in_order:
        return postprocess_on_device(offsets, scores, default_boxes, variances, settings, code=code)
    row_variances = variances.cpu().numpy() if isinstance(variances, torch.Tensor) else variances
    boxes = default_boxes.cpu().numpy()
    images = zip(offsets.cpu().numpy(), scores.cpu().numpy(), strict=True)
    return [
        postprocess(image_offsets, image_scores, boxes, row_variances, settings, code=code)
        for image_offsets, image_scores in images
    ]


@torch.no_grad()
def postprocess_on_device(
    offsets: Float[Tensor, "B K 4"],
    scores: Float[Tensor, "B K C"],
    default_boxes: Float[Tensor, "K 4"],
    variances: Sequence[float] | Float[Tensor, "K 4"],
    settings: Postprocess,
    *,
    code: Code = "center_size",
) -> list[RawDetections]:
    """`postprocess` of a batch in tensor operations, for plain NMS (eta 1); `scores` are probabilities.

    Raises:
        ModelError: shapes that do not belong together.
    """
    assert settings.nms_eta >= 1, "adaptive NMS has no fixed point; postprocess_batch sends it elsewhere"
    check_shapes(tuple(offsets.shape[1:]), tuple(scores.shape[1:]), tuple(default_boxes.shape))
    boxes = decode(offsets, default_boxes, variances, code=code)
    finite = boxes.isfinite().all(dim=-1) & scores.isfinite().all(dim=-1)
    by_class = scores[..., 1:].transpose(1, 2)  # (B, L, K)
    candidates = (by_class > float(np.float32(settings.score_threshold))) & finite[:, None]
    longest = int(candidates.sum(dim=-1).max()) if candidates.numel() else 0
    longest = min(longest, settings.top_k) if settings.top_k >= 0 else longest
    ranked, rows = by_class.where(candidates, -torch.inf).sort(dim=-1, descending=True, stable=True)
    ranked, rows = ranked[..., :longest], rows[..., :longest]
    kept = _nms_in_chunks(boxes, rows, ranked > -torch.inf, float(np.float32(settings.nms_threshold)))
    dropped = (~finite).sum(dim=-1).tolist()
    return _best_of_all_classes(boxes, ranked.where(kept, -torch.inf), rows, settings.keep_top_k, dropped)


def _nms_in_chunks(
    boxes_xyxy: Float[Tensor, "B K 4"], rows: Int64[Tensor, "B L n"], valid: Bool[Tensor, "B L n"], threshold: float
) -> Bool[Tensor, "B L n"]:
    """NMS of every class of every image, as many lists at a time as memory allows."""
    batch, labels, longest = rows.shape
    if not rows.numel():
        return valid
    image = torch.arange(batch, device=rows.device)[:, None, None].expand_as(rows).flatten(0, 1)
    lists = max(1, PAIRS_AT_ONCE // longest**2)
    columns = (image, rows.flatten(0, 1), valid.flatten(0, 1))
    chunks = zip(*(torch.split(column, lists) for column in columns), strict=True)
    kept = [nms_lists(boxes_xyxy[images, rows], valid, threshold) for images, rows, valid in chunks]
    return torch.cat(kept).reshape(batch, labels, longest)


def nms_lists(
    boxes_xyxy: Float[Tensor, "lists n 4"], valid: Bool[Tensor, "lists n"], threshold: float
) -> Bool[Tensor, "lists n"]:
    """Greedy NMS of many lists at once, each best first: which of the valid candidates are kept.

    A box is suppressed when its IoU with a better kept one is above the threshold (or not a number, as in Caffe).
    """
    too_close = ~(pairwise_iou(boxes_xyxy, boxes_xyxy) <= threshold)
    suppresses = too_close.triu(diagonal=1)  # [list, better, worse]
    kept = valid
    for _ in range(valid.shape[-1]):  # round i decides candidate i at the latest
        before, kept = kept, valid & ~(suppresses & kept[..., :, None]).any(dim=-2)
        if torch.equal(before, kept):
            break
    return kept


def _best_of_all_classes(
    boxes_xyxy: Float[Tensor, "B K 4"],
    scores: Float[Tensor, "B L n"],
    rows: Int64[Tensor, "B L n"],
    keep_top_k: int,
    dropped: Sequence[int],
) -> list[RawDetections]:
    """The best `keep_top_k` (-1 for all) of the kept boxes, whose score is not -inf; ties as in `postprocess`."""
    longest = scores.shape[-1]
    ranked, places = scores.flatten(1).sort(dim=-1, descending=True, stable=True)
    counts = (ranked > -torch.inf).sum(dim=-1)
    limit = int(counts.max()) if len(counts) else 0
    limit = min(limit, keep_top_k) if keep_top_k >= 0 else limit
    ranked, places = ranked[:, :limit], places[:, :limit]
    chosen = rows.flatten(1).gather(1, places)
    best = boxes_xyxy.gather(1, chosen[..., None].expand(-1, -1, 4))
    table = torch.cat([best, ranked[..., None]], dim=-1).cpu().numpy()
    labels = (places // max(longest, 1)).cpu().numpy()
    counts_kept = (table[..., 4] > -np.inf).sum(axis=1)
    return [
        RawDetections(rows[:count, :4].copy(), rows[:count, 4].copy(), row_labels[:count].copy(), image_dropped)
        for rows, row_labels, count, image_dropped in zip(table, labels, counts_kept, dropped, strict=True)
    ]
