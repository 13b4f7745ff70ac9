"""All tables that can be run, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from singleshot.errors import UnknownNameError
from singleshot.lab.reproduce.ablations import PLAIN, SSD300, table2, table3
from singleshot.lab.reproduce.paper import (
    ALL_AND_TESTS,
    FIRST,
    PER_CLASS,
    Schedule,
    Table,
    TableRow,
    expansion,
    method,
    printed,
)
from singleshot.spec import ModelSpec
from singleshot.train.recipe import CAFFE
from singleshot.variants import SSD512_VGG16, variant

SSD512 = replace(SSD300, key="ssd512", label="SSD512", spec=SSD512_VGG16, boxes=24564)

# COCO: 160k, 40k, 40k steps (section 3.4); with expansion the authors' ssd_coco.py: drops at 280k and 360k of 400k.
ON_COCO = Schedule(PLAIN, 240_000)
EXPANDED_ON_COCO = Schedule(replace(CAFFE, lr_milestones=(0.7, 0.9)), 400_000)
# VOC2012: 60k, 20k steps (section 3.3).
ON_VOC12 = Schedule(replace(PLAIN, lr_milestones=(0.75,)), 80_000, ALL_AND_TESTS)
# ILSVRC DET: 320k, 80k, 40k steps (section 3.5).
ON_ILSVRC = Schedule(replace(PLAIN, lr_milestones=(320 / 440, 400 / 440)), 440_000)


def with_expansion(row: TableRow) -> TableRow:
    """The paper's "*": section 3.6's expansion, and twice the steps."""
    schedule = replace(
        row.schedule,
        recipe=replace(row.schedule.recipe, augment=CAFFE.augment),
        steps=2 * row.schedule.steps,
    )
    if row.on_coco:
        schedule = EXPANDED_ON_COCO
    before = None if row.before is None else EXPANDED_ON_COCO
    return replace(row, key=f"{row.key}-expanded", label=f"{row.label}*", schedule=schedule, before=before)


def of_data(row: TableRow, data: str) -> TableRow:
    """The row for training data as the paper writes them: 07, 07+12, 07++12, each with +COCO behind it."""
    name = data.removesuffix("+COCO")
    schedule = {"07": replace(row.schedule, sets=FIRST), "07+12": row.schedule, "07++12": ON_VOC12}[name]
    kind = {"07": "-first", "07+12": "", "07++12": "-voc12"}[name]
    protocol = "voc12" if data.startswith("07++12") else "voc07"
    row = replace(row, key=f"{row.key}{kind}", label=f"{row.label}, {data}", schedule=schedule, protocol=protocol)
    if data == name:
        return row
    return replace(row, key=f"{row.key}-after-coco", spec=for_coco(row), before=ON_COCO)


def for_coco(row: TableRow) -> ModelSpec:
    """The row's network with the smaller default boxes that the authors give COCO."""
    return variant(f"{row.spec.name}-coco")


def on_coco(row: TableRow, label: str) -> TableRow:
    """The row as it is trained and evaluated on COCO."""
    return replace(
        row, key=f"{row.key}-coco", label=label, spec=for_coco(row), schedule=ON_COCO, on_coco=True, protocol="coco"
    )


def of_methods(table: str, data: tuple[str, ...]) -> tuple[TableRow, ...]:
    """SSD300 and SSD512 of table 1 or 4, with the paper's AP of each class."""
    rows = []
    for base in (SSD300, SSD512):
        for trained_on in data:
            figures = method(table, base.label, trained_on)
            row = of_data(base, trained_on)
            rows.append(replace(row, paper={"mAP": figures["mAP"]}, per_class=figures[PER_CLASS]))
    return tuple(rows)


def table1() -> Table:
    """PASCAL VOC2007 test (table 1)."""
    rows = of_methods("table1_voc2007_test", ("07", "07+12", "07+12+COCO"))
    return Table("table1", "PASCAL VOC2007 test, AP of each class (table 1)", rows)


def table4() -> Table:
    """PASCAL VOC2012 test (table 4)."""
    rows = of_methods("table4_voc2012_test", ("07++12", "07++12+COCO"))
    note = "VOC2012's test has no public annotations: the test split of the last set is taken"
    return Table("table4", "PASCAL VOC2012 test, AP of each class (table 4)", rows, note=note)


def table5() -> Table:
    """COCO test-dev2015 (table 5)."""
    rows = []
    for base, figures in zip((SSD300, SSD512), printed("table5_coco_test_dev2015"), strict=True):
        row = on_coco(base, f"{base.label}, trainval35k")
        rows.append(replace(row, paper={name: figures[name] for name in ("AP", "AP50", "AP75")}))
    note = "test-dev has no public annotations: the validation split is taken (minival, where it is its own split)"
    return Table("table5", "COCO test-dev2015 (table 5)", tuple(rows), note=note)


def table6() -> Table:
    """What the expansion is worth (table 6): each network without and with it, in each column."""
    rows: list[TableRow] = []
    for base in (SSD300, SSD512):
        for expanded in (False, True):
            figures = expansion(base.label + "*" * expanded)
            for data, column in (
                ("07+12", "voc07_07+12"),
                ("07+12+COCO", "voc07_07+12+COCO"),
                ("07++12", "voc12_07++12"),
                ("07++12+COCO", "voc12_07++12+COCO"),
            ):
                row = of_data(base, data)
                rows.append(replace(with_expansion(row) if expanded else row, paper={"mAP": figures[column]}))
            row = on_coco(base, f"{base.label}, trainval35k")
            paper = {name: figures[f"coco_{name}"] for name in ("AP", "AP50", "AP75")}
            rows.append(replace(with_expansion(row) if expanded else row, paper=paper))
    return Table("table6", "What the expansion augmentation is worth (table 6)", tuple(rows))


def ilsvrc() -> Table:
    """ILSVRC DET val2 (section 3.5)."""
    (figures,) = printed("ilsvrc_det_val2")
    row = replace(
        SSD300,
        key="ssd300-ilsvrc",
        spec=for_coco(SSD300),
        schedule=ON_ILSVRC,
        protocol="ilsvrc",
        paper={"mAP": figures["mAP"]},
    )
    return Table("ilsvrc", "ILSVRC DET val2 (section 3.5)", (row,))


FOCAL = replace(SSD300.schedule, recipe=replace(SSD300.schedule.recipe, confidence_loss="focal"))


def relatives() -> Table:
    """Feature-Fused SSD, RetinaNet's way back up and its loss, and what the paper says SSD reduces to."""

    def named(label: str, name: str) -> TableRow:
        return replace(SSD300, key=name.replace("-vgg16", ""), label=label, spec=variant(name), boxes=None)

    fused = SSD300.spec.with_fusion("top-down")
    rows = (
        replace(SSD300, paper={"mAP": 74.3}),
        named("Feature-Fused, concatenation", "ssd300-vgg16-fused-concat"),
        named("Feature-Fused, element-sum", "ssd300-vgg16-fused-sum"),
        replace(SSD300, key="ssd300-top-down", label="top-down fusion", spec=fused),
        replace(SSD300, key="ssd300-focal", label="focal loss", schedule=FOCAL),
        named("OverFeat-like: one box a cell of fc7", "overfeat-like-vgg16"),
        named("YOLO-like: 7x7x2 boxes, fully connected", "yolo-like-vgg16"),
    )
    note = "Cao et al. 2017 give Feature-Fused SSD 78.9 and 78.8 on VOC2007, with the expansion, where SSD300 has 77.2"
    return Table("relatives", "SSD and its relatives", rows, timed=True, note=note)


TABLES: dict[str, Callable[[], Table]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "table6": table6,
    "ilsvrc": ilsvrc,
    "relatives": relatives,
}
"""Tables of accuracy; table 7 is about speed, see `reproduce.speed`."""
SPEED = "table7"


def table(name: str) -> Table:
    """The table of this name.

    Raises:
        UnknownNameError: with the nearest names.
    """
    if name not in TABLES:
        raise UnknownNameError("table", name, sorted([*TABLES, SPEED]))
    return TABLES[name]()
