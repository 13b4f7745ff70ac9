"""SSD's relatives as a table of their own: each a configuration of the same parts, trained and judged as SSD300 is."""

from __future__ import annotations

from dataclasses import replace

from singleshot.lab.reproduce.ablations import SSD300
from singleshot.lab.reproduce.rows import Row, Table
from singleshot.variants import variant

FOCAL = replace(SSD300.schooling, recipe=replace(SSD300.schooling.recipe, confidence_loss="focal"))


def relatives() -> Table:
    """Feature-Fused SSD, RetinaNet's way back up and its loss, and what the paper says SSD reduces to."""

    def named(label: str, name: str) -> Row:
        return replace(SSD300, key=name.replace("-vgg16", ""), label=label, spec=variant(name), boxes=None)

    fused = SSD300.spec.with_fusion("top-down")
    rows = (
        replace(SSD300, paper={"mAP": 74.3}),
        named("Feature-Fused, concatenation", "ssd300-vgg16-fused-concat"),
        named("Feature-Fused, element-sum", "ssd300-vgg16-fused-sum"),
        replace(SSD300, key="ssd300-top-down", label="top-down fusion", spec=fused),
        replace(SSD300, key="ssd300-focal", label="focal loss", schooling=FOCAL),
        named("OverFeat-like: one box a cell of fc7", "overfeat-like-vgg16"),
        named("YOLO-like: 7x7x2 boxes, fully connected", "yolo-like-vgg16"),
    )
    note = "Cao et al. 2017 give Feature-Fused SSD 78.9 and 78.8 on VOC2007, with the expansion, where SSD300 has 77.2"
    return Table("relatives", "SSD and its relatives", rows, timed=True, note=note)
