"""SSD's relatives as a table of their own: each a configuration of the same parts, trained and judged as SSD300 is."""

from __future__ import annotations

from dataclasses import replace

from singleshot.reproduce.ablations import OLDER, SSD300
from singleshot.reproduce.rows import Row, Schooling, Table
from singleshot.spec import variant
from singleshot.train.recipe import CAFFE

EXPANDED = Schooling(CAFFE, 2 * OLDER)
FOCAL = replace(EXPANDED, recipe=replace(CAFFE, confidence_loss="focal"))
PRINTED = {"ssd300-vgg16-fused-concat": 78.9, "ssd300-vgg16-fused-sum": 78.8}
"""VOC2007 mAP of Cao et al. 2017; SSD300 itself has 77.2 with the expansion (table 6)."""


def relatives() -> Table:
    """Feature-Fused SSD, RetinaNet's way back up and its loss, and what the paper says SSD reduces to."""
    base = replace(SSD300, key="ssd300-expanded", label="SSD300*", schooling=EXPANDED, paper={"mAP": 77.2})

    def named(label: str, name: str) -> Row:
        spec = variant(name)
        paper = {"mAP": PRINTED[name]} if name in PRINTED else {}
        return replace(base, key=name.replace("-vgg16", ""), label=label, spec=spec, boxes=None, paper=paper)

    rows = (
        base,
        named("Feature-Fused, concatenation", "ssd300-vgg16-fused-concat"),
        named("Feature-Fused, element-sum", "ssd300-vgg16-fused-sum"),
        replace(base, key="ssd300-top-down", label="top-down fusion", spec=base.spec.with_fusion("top-down"), paper={}),
        replace(base, key="ssd300-focal", label="focal loss", schooling=FOCAL, paper={}),
        named("OverFeat-like: one box a cell of fc7", "overfeat-like-vgg16"),
        named("YOLO-like: 7x7x2 boxes, fully connected", "yolo-like-vgg16"),
    )
    return Table("relatives", "SSD and its relatives", rows, timed=True)
