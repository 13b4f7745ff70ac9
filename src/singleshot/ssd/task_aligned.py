"""Which default boxes learn each ground-truth box, by what the network predicts there now (Feng et al. 2021, TOOD).

B images, K default boxes, R ground-truth boxes of one image, C classes with background.

A default box whose centre lies in a ground-truth box is as good for it as its score and the IoU of its prediction say:
t = score^alpha IoU^beta. The best few learn it; how well each should score is told by t, scaled so that the best one
has its IoU as target (equations 2 and 3). So score and place agree, and no IoU threshold has to fit the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from singleshot.boxes import pairwise_iou, xyxy_to_cxcywh
from singleshot.shapes import Bool, Float, Int64
from singleshot.ssd.coder import decode, encode
from singleshot.ssd.tensors import Predictions, Targets

ALPHA, BETA = 1.0, 6.0
BEST = 13
"""Default boxes of a ground-truth box, at most."""


@torch.no_grad()
def assign_task_aligned(
    default_boxes: Float[Tensor, "K 4"],
    cells_wh: Float[Tensor, "K 2"],
    predictions: Predictions,
    boxes_xyxy: Float[Tensor, "B R 4"],
    classes: Int64[Tensor, "B R"],
    variances: tuple[float, float, float, float],
) -> Targets:
    """What each default box should predict, with a quality for the boxes that learn an object.

    Laws: a ground-truth box that the prediction of a default box near it overlaps has one, unless other ground-truth
    boxes take all of those; padding changes nothing; a default box learns at most one ground-truth box.

    Args:
        default_boxes: corners as fractions of the image.
        cells_wh: width and height of the cell of each default box, fractions of the image: the cell that holds an
            object's centre may learn it, however small it is.
        predictions: of the network, with sigmoid scores.
        boxes_xyxy: ground-truth boxes as fractions of the image, padded.
        classes: 1..L, and 0 where a row is padding.
        variances: of the box coder.
    """
    centres = xyxy_to_cxcywh(default_boxes)[:, :2]
    targets = [
        _assign_image(
            default_boxes,
            centres,
            cells_wh,
            decode(offsets.float(), default_boxes, variances),
            logits.float(),
            boxes[kinds > 0].to(default_boxes),
            kinds[kinds > 0],
            variances,
        )
        for offsets, logits, boxes, kinds in zip(
            predictions.offsets, predictions.logits, boxes_xyxy, classes, strict=True
        )
    ]
    offsets, kinds, ious, qualities = (torch.stack(parts) for parts in zip(*targets, strict=True))
    return Targets(offsets, kinds, ious, qualities)


def _assign_image(
    default_boxes: Float[Tensor, "K 4"],
    centres: Float[Tensor, "K 2"],
    cells_wh: Float[Tensor, "K 2"],
    predicted: Float[Tensor, "K 4"],
    logits: Float[Tensor, "K C"],
    boxes: Float[Tensor, "R 4"],
    classes: Int64[Tensor, " R"],
    variances: tuple[float, float, float, float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Offsets, classes, IoUs and qualities of the default boxes of one image."""
    count = len(default_boxes)
    offsets, kinds = torch.zeros_like(default_boxes), classes.new_zeros(count)
    quality = default_boxes.new_zeros(count)
    if not len(boxes):
        return offsets, kinds, quality, quality.clone()
    ious = pairwise_iou(boxes, predicted)
    candidates = _near(boxes, centres, cells_wh)
    alignment = logits[:, classes].sigmoid().T ** ALPHA * ious**BETA * candidates
    best = alignment.topk(min(BEST, count), dim=1)
    alignment = torch.zeros_like(alignment).scatter_(1, best.indices, best.values)
    owners = torch.where(alignment > 0, ious, -1).argmax(dim=0)  # of several ground-truth boxes the nearest
    alignment = torch.where(owners == torch.arange(len(boxes), device=owners.device)[:, None], alignment, 0)
    assigned = alignment > 0
    scale = (ious * assigned).amax(dim=1) / alignment.amax(dim=1).clip(min=torch.finfo(alignment.dtype).tiny)
    matched = assigned.any(dim=0)
    rows = owners[matched]
    offsets[matched] = encode(boxes[rows], default_boxes[matched], variances)
    kinds[matched] = classes[rows]
    quality[matched] = (alignment * scale[:, None]).amax(dim=0)[matched]
    return offsets, kinds, ious.amax(dim=0), quality


def _near(
    boxes: Float[Tensor, "R 4"], centres: Float[Tensor, "K 2"], cells_wh: Float[Tensor, "K 2"]
) -> Bool[Tensor, "R K"]:
    """Whether the centre of each default box lies in each ground-truth box, or its cell holds that one's centre."""
    inside = ((centres > boxes[:, None, :2]) & (centres < boxes[:, None, 2:])).all(dim=2)
    middles = xyxy_to_cxcywh(boxes)[:, None, :2]
    return inside | ((middles - centres).abs() <= cells_wh / 2).all(dim=2)
