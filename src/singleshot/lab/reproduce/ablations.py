"""Tables 2 and 3: what augmentation, shapes, atrous convolutions, maps and boundary boxes are worth."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from singleshot.augment.settings import BatchSampler
from singleshot.lab.reproduce.paper import Pair, Schedule, Table, TableRow, printed
from singleshot.spec import MapBoxes, ModelSpec
from singleshot.train.recipe import CAFFE
from singleshot.variants import SSD300_VGG16, SSD300_VGG16_FULL

PLAIN = replace(CAFFE, augment=replace(CAFFE.augment, expand_probability=0.0))
"""The paper's training before the expansion of section 3.6 came: all of `caffe` but that."""

BARE = replace(
    PLAIN,
    augment=replace(
        PLAIN.augment,
        brightness_probability=0.0,
        contrast_probability=0.0,
        saturation_probability=0.0,
        hue_probability=0.0,
        samplers=(BatchSampler(trials=1),),
        interpolations=("linear",),
    ),
)
"""Whole images and their mirror images, as Fast R-CNN has them: the first column of table 2."""

OLDER = 60_000
"""Steps on VOC, with drops at 40k and 50k; expansion takes twice as many (section 3.6)."""

SSD300 = TableRow("ssd300", "SSD300", SSD300_VGG16, Schedule(PLAIN, OLDER), boxes=8732)


def with_ratios(spec: ModelSpec, allowed: tuple[float, ...]) -> ModelSpec:
    """The same detector whose default boxes have no other ratios (and their inverses) than these, beside 1."""
    maps = tuple(
        replace(boxes, aspect_ratios=tuple(ratio for ratio in boxes.aspect_ratios if ratio in allowed))
        for boxes in spec.boxes.maps
    )
    return replace(spec, boxes=replace(spec.boxes, maps=maps))


def table2() -> Table:
    """Effects of design choices and components (table 2)."""
    figures = [{"mAP": row["mAP"]} for row in printed("table2_voc2007_test_ssd300")]
    rows: tuple[TableRow, ...] = (
        replace(SSD300, key="bare", label="without the augmentation", schedule=Schedule(BARE, OLDER)),
        replace(SSD300, key="squares", label="without {1/2, 2} and {1/3, 3} boxes", spec=with_ratios(SSD300.spec, ())),
        replace(SSD300, key="no-thirds", label="without {1/3, 3} boxes", spec=with_ratios(SSD300.spec, (2.0,))),
        replace(SSD300, key="no-atrous", label="without atrous", spec=SSD300_VGG16_FULL, needs_vgg=True),
        replace(SSD300, label="all of them"),
    )
    counts = (8732, None, None, None, 8732)
    rows = tuple(
        replace(row, paper=figure, boxes=count) for row, figure, count in zip(rows, figures, counts, strict=True)
    )
    bare, whole = rows[0], rows[-1]
    return Table(
        "table2",
        "Effects of design choices on SSD300 (table 2)",
        rows,
        timed=True,
        note="without atrous: the full VGG-16, pool5 2x2 with stride 2, fc6 and fc7 whole, conv5_3 as a source",
        controls=(
            replace(whole, key="atrous", label="with atrous, VGG-16", needs_vgg=True),
            replace(bare, key="bare-long", label=f"{bare.label}, twice as long", lengthened=2),
            replace(whole, key="ssd300-long", label=f"{whole.label}, twice as long", lengthened=2),
        ),
        pairs=(
            Pair("the augmentation helps", "ssd300", "bare"),
            Pair("the augmentation helps, twice as long", "ssd300-long", "bare-long"),
            Pair("it helps more than all ratios", "squares", "bare"),
            Pair("more ratios help: all against none", "ssd300", "squares"),
            Pair("{1/2, 2} boxes help", "no-thirds", "squares"),
            Pair("{1/3, 3} boxes help", "ssd300", "no-thirds"),
            Pair("atrous or not", "ssd300", "no-atrous"),
            Pair("atrous or not, VGG-16", "atrous", "no-atrous"),
        ),
    )


class Tiling(NamedTuple):
    """Default boxes of the source maps that are left: sizes of each in pixels of 300, and whether ratio 3 is there.

    The paper prints how many boxes there are, not which: the counts a cell below are those that give its numbers, and
    the sizes are SSD300's own six, those of maps that are gone moved to the maps that are left.
    """

    sizes: tuple[tuple[float, ...], ...]
    thirds: tuple[bool, ...]
    extra_squares: bool = True


ENDS = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0)
TILINGS = (
    Tiling(((30,), (60,), (111,), (162,), (213, 264)), (False, True, True, True, False)),
    Tiling(((30,), (60,), (111, 162), (213, 264)), (False, True, False, False)),
    Tiling(((30,), (60, 111), (162, 213, 264)), (False, False, False)),
    Tiling(((30,), (75, 150, 255)), (False, False), extra_squares=False),
    Tiling(((30, 60, 111, 162, 213, 264),), (False,)),
)
"""Of the first five maps, the first four, three, two, and of fc7 alone."""


def retiled(spec: ModelSpec, tiling: Tiling) -> ModelSpec:
    """SSD300 with fewer source maps, and about as many default boxes on those that are left."""
    sources = spec.sources[: len(tiling.sizes)] if len(tiling.sizes) > 1 else ("fc7",)
    steps = dict(zip(spec.sources, (boxes.step for boxes in spec.boxes.maps), strict=True))
    maps = []
    for name, sizes, thirds in zip(sources, tiling.sizes, tiling.thirds, strict=True):
        squares = tiling.extra_squares or name == "conv4_3"  # of sqrt(size x next size)
        larger = tuple(ENDS[ENDS.index(size) + 1] for size in sizes) if squares else ()
        maps.append(MapBoxes(sizes, larger, (2.0, 3.0) if thirds else (2.0,), steps[name]))
    return spec.with_maps(sources, tuple(maps))


def table3() -> Table:
    """Effects of multiple output maps, with and without boundary boxes (table 3)."""
    specs = (SSD300.spec, *(retiled(SSD300.spec, tiling) for tiling in TILINGS))
    without = replace(PLAIN, boundary_boxes=False)
    rows: list[TableRow] = []
    controls: list[TableRow] = []
    boundary: list[Pair] = []
    for spec, one in zip(specs, printed("table3_voc2007_test_ssd300"), strict=True):
        count = len(spec.sources)
        label = f"{count} maps" if count > 1 else "fc7 alone"
        key = SSD300.key if spec == SSD300.spec else f"maps-{count}"
        counted = replace(SSD300, spec=spec, boxes=one["boxes"])
        rows += [
            replace(counted, key=key, label=label, paper={"mAP": one["mAP_boundary_boxes"]}),
            replace(
                counted,
                key=f"{key}-inside",
                label=f"{label}, no boundary boxes",
                schedule=Schedule(without, OLDER),
                paper={"mAP": one["mAP_without"]},
            ),
        ]
        pruned = f"{key}-pruned"
        controls.append(
            replace(
                rows[-1],
                key=pruned,
                label=f"{label}, none at test either",
                model_of=rows[-1].key,
                detects_boundary=False,
            )
        )
        boundary += [
            Pair(f"boundary boxes help, {label}", key, f"{key}-inside"),
            Pair(f"boundary boxes help, {label}; none at test", key, pruned),
        ]
    of_maps = rows[::2]
    steps = [Pair(f"{more.label} against {fewer.label}", more.key, fewer.key) for more, fewer in pairwise(of_maps)]
    return Table(
        "table3",
        "Effects of multiple output maps (table 3)",
        tuple(rows),
        timed=True,
        note="without boundary boxes none that reaches outside the image learns; detection asks all, as in Caffe",
        controls=tuple(controls),
        pairs=(Pair("several maps beat one", of_maps[0].key, of_maps[-1].key), *steps, *boundary),
    )
