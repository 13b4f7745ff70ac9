"""The named models: SSD300 and SSD512 on VGG-16, SSDLite on MobileNets, and the relatives of the paper."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from singleshot.errors import UnknownNameError
from singleshot.spec import (
    OBJECT,
    PATH_AGGREGATION,
    BoxSpec,
    Compatibility,
    ExtraBlock,
    Fusion,
    GridHead,
    MapBoxes,
    ModelSpec,
    Postprocess,
    Preprocess,
)

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _maps(
    sizes: tuple[float, ...], ratios: tuple[tuple[float, ...], ...], steps: tuple[float | None, ...]
) -> tuple[MapBoxes, ...]:
    """Maps whose max size is the next map's min size; `sizes` ends with the last map's max size."""
    return tuple(
        MapBoxes((small,), (large,), ratio, step)
        for (small, large), ratio, step in zip(pairwise(sizes), ratios, steps, strict=True)
    )


_TWO, _THREE = (2.0,), (2.0, 3.0)
_RATIOS_300 = (_TWO, _THREE, _THREE, _THREE, _TWO, _TWO)
_RATIOS_512 = (_TWO, _THREE, _THREE, _THREE, _THREE, _TWO, _TWO)
_STEPS_300 = (8.0, 16.0, 32.0, 64.0, 100.0, 300.0)
_STEPS_512 = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

# Pixels: the authors' ssd_pascal.py, ssd_coco.py and their released 512 models. Caffe cuts them to whole pixels.
BOXES_300_VOC = BoxSpec(_maps((30, 60, 111, 162, 213, 264, 315), _RATIOS_300, _STEPS_300))
BOXES_300_COCO = BoxSpec(_maps((21, 45, 99, 153, 207, 261, 315), _RATIOS_300, _STEPS_300))
BOXES_512_VOC = BoxSpec(_maps((35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6), _RATIOS_512, _STEPS_512))
BOXES_512_COCO = BoxSpec(_maps((20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72), _RATIOS_512, _STEPS_512))
# chuanqi305's MobileNet-SSD: sizes 60 .. 285, the first map without the sqrt(min max) square and without ratio 3.
BOXES_300_MOBILENETV1 = BoxSpec(
    (MapBoxes((60,), (), _TWO), *_maps((105, 150, 195, 240, 285, 300), (_THREE,) * 5, (None,) * 5))
)
# MultiBox, Szegedy et al. 2014: 11 priors a cell, and one of the whole image on the last map. Sizes and ratios are
# ours: a size a map by SSD's eq. 4 from 0.15 to 1 of 256 pixels, and ratios up to 3.
BOXES_256_MULTIBOX = BoxSpec(
    (
        *(MapBoxes((size,), (), (1.25, 1.5, 2.0, 2.5, 3.0)) for size in (38.4, 81.92, 125.44, 168.96, 212.48)),
        MapBoxes((256.0,), (), ()),
    ),
    truncate_sizes=False,
)
# Scales 0.2 .. 0.95 of 320 pixels.
BOXES_320_LITE = BoxSpec(_maps((64, 112, 160, 208, 256, 304, 320), (_THREE,) * 6, (None,) * 6))

SSD300_VGG16 = ModelSpec(
    name="ssd300-vgg16",
    backbone="vgg16",
    input_size_hw=(300, 300),
    class_names=VOC_CLASSES,
    sources=("conv4_3", "fc7", "conv8_2", "conv9_2", "conv10_2", "conv11_2"),
    boxes=BOXES_300_VOC,
    extras=(
        ExtraBlock("conv8", 256, 512, stride=2, padding=1),
        ExtraBlock("conv9", 128, 256, stride=2, padding=1),
        ExtraBlock("conv10", 128, 256),
        ExtraBlock("conv11", 128, 256),
    ),
    normalised=("conv4_3",),
)
SSD512_VGG16 = replace(
    SSD300_VGG16,
    name="ssd512-vgg16",
    input_size_hw=(512, 512),
    sources=(*SSD300_VGG16.sources, "conv12_2"),
    boxes=BOXES_512_VOC,
    extras=(
        ExtraBlock("conv8", 256, 512, stride=2, padding=1),
        ExtraBlock("conv9", 128, 256, stride=2, padding=1),
        ExtraBlock("conv10", 128, 256, stride=2, padding=1),
        ExtraBlock("conv11", 128, 256, stride=2, padding=1),
        ExtraBlock("conv12", 128, 256, kernel=4, padding=1),
    ),
)
# Section 3.3, without atrous: fc7 has stride 32, so it replaces conv8_2, and conv5_3 replaces fc7.
SSD300_VGG16_FULL = replace(
    SSD300_VGG16,
    name="ssd300-vgg16-full",
    backbone="vgg16-full",
    sources=("conv4_3", "conv5_3", "fc7", *SSD300_VGG16.sources[3:]),
    extras=SSD300_VGG16.extras[1:],
)
# The relatives that the paper's related work names. OverFeat's: one square a cell of fc7, half the input: the middle of
# SSD300's sizes, which go from 0.1 to 0.9. What the cell sees, 420 pixels, is more than the image and gives no size.
OVERFEAT_LIKE_VGG16 = replace(
    SSD300_VGG16,
    name="overfeat-like-vgg16",
    sources=("fc7",),
    boxes=BoxSpec((MapBoxes((150,), (), (), 16.0),)),
    extras=(),
    normalised=(),
)
# YOLO's: two squares a cell of 7x7: a third of the input, and sqrt(100 x 300) = 173, halfway (in ratio) to all of it.
YOLO_LIKE_VGG16 = replace(
    OVERFEAT_LIKE_VGG16,
    name="yolo-like-vgg16",
    boxes=BoxSpec((MapBoxes((100,), (300,), ()),)),
    grid_head=GridHead(),
)
_UNIT_RANGE = Preprocess(mean_rgb=(127.5,) * 3, std_rgb=(127.5,) * 3, channel_order="rgb")
SSD300_MOBILENETV1 = ModelSpec(
    name="ssd300-mobilenetv1",
    backbone="mobilenetv1",
    input_size_hw=(300, 300),
    class_names=VOC_CLASSES,
    sources=("conv11", "conv13", "conv14_2", "conv15_2", "conv16_2", "conv17_2"),
    boxes=BOXES_300_MOBILENETV1,
    extras=(
        ExtraBlock("conv14", 256, 512, stride=2, padding=1),
        ExtraBlock("conv15", 128, 256, stride=2, padding=1),
        ExtraBlock("conv16", 128, 256, stride=2, padding=1),
        ExtraBlock("conv17", 64, 128, stride=2, padding=1),
    ),
    preprocess=replace(_UNIT_RANGE, channel_order="bgr"),
    postprocess=Postprocess(top_k=100, keep_top_k=100),
    head_kernel=1,
)
SSDLITE320_MOBILENETV2 = ModelSpec(
    name="ssdlite320-mobilenetv2",
    backbone="mobilenetv2",
    input_size_hw=(320, 320),
    class_names=VOC_CLASSES,
    sources=("block14_expand", "last", "extra1_2", "extra2_2", "extra3_2", "extra4_2"),
    boxes=BOXES_320_LITE,
    extras=(
        ExtraBlock("extra1", 256, 512, stride=2, padding=1),
        ExtraBlock("extra2", 128, 256, stride=2, padding=1),
        ExtraBlock("extra3", 128, 256, stride=2, padding=1),
        ExtraBlock("extra4", 64, 128, stride=2, padding=1),
    ),
    preprocess=_UNIT_RANGE,
    separable=True,
    compatibility=Compatibility(tensorflow_padding=True),
)

SSDLITE320_MOBILENETV3 = replace(
    SSDLITE320_MOBILENETV2,
    name="ssdlite320-mobilenetv3",
    backbone="mobilenetv3",
    sources=("block13_expand", *SSDLITE320_MOBILENETV2.sources[1:]),
    extras=(
        *SSDLITE320_MOBILENETV2.extras[:2],
        ExtraBlock("extra3", 128, 256, stride=2, padding=1),
        ExtraBlock("extra4", 64, 128, stride=2, padding=1),
    ),
    compatibility=Compatibility(),
)

SSDLITE320_EFFICIENTNETLITE0 = replace(
    SSDLITE320_MOBILENETV2,
    name="ssdlite320-efficientnetlite0",
    backbone="efficientnetlite0",
    sources=("block12_expand", *SSDLITE320_MOBILENETV2.sources[1:]),
    preprocess=Preprocess(mean_rgb=(127.0,) * 3, std_rgb=(128.0,) * 3, channel_order="rgb"),
)

# Maps of strides 8 to 64, each with one square of four strides a cell: what a cell learns is what it predicts best.
SSD320_LITE = ModelSpec(
    name="ssd320-lite",
    backbone="mobilenetv2",
    input_size_hw=(320, 320),
    class_names=VOC_CLASSES,
    sources=("block7_expand", "block14_expand", "last", "extra1_2"),
    boxes=BoxSpec(tuple(MapBoxes((), (), (), sizes_wh=((side, side),)) for side in (32.0, 64.0, 128.0, 256.0))),
    extras=(ExtraBlock("extra1", 128, 256, stride=2, padding=1),),
    preprocess=_UNIT_RANGE,
    postprocess=Postprocess(scores="sigmoid", nms_threshold=0.6),
    separable=True,
    fusion=Fusion(PATH_AGGREGATION, channels=96),
    compatibility=Compatibility(tensorflow_padding=True),
)

# Maps 8, 6, 4, 3, 2, 1. Every proposal is kept, best first; users take the best K.
MULTIBOX_MOBILENETV2 = replace(
    SSDLITE320_MOBILENETV2,
    name="multibox-mobilenetv2",
    input_size_hw=(256, 256),
    class_names=(OBJECT,),
    class_agnostic=True,
    sources=("last", "extra1_2", "extra2_2", "extra3_2", "extra4_2", "extra5_2"),
    boxes=BOXES_256_MULTIBOX,
    extras=(
        ExtraBlock("extra1", 256, 512),
        ExtraBlock("extra2", 256, 512),
        ExtraBlock("extra3", 128, 256, kernel=2),
        ExtraBlock("extra4", 128, 256, kernel=2),
        ExtraBlock("extra5", 64, 128, kernel=2),
    ),
    postprocess=Postprocess(score_threshold=0.0, nms_threshold=1.0, top_k=-1, keep_top_k=-1),
)

VARIANTS = {
    spec.name: spec
    for spec in (
        SSD300_VGG16,
        replace(SSD300_VGG16, name="ssd300-vgg16-coco", boxes=BOXES_300_COCO),
        SSD512_VGG16,
        replace(SSD512_VGG16, name="ssd512-vgg16-coco", boxes=BOXES_512_COCO),
        replace(SSD300_VGG16.with_fusion("concat"), name="ssd300-vgg16-fused-concat"),
        replace(SSD300_VGG16.with_fusion("sum"), name="ssd300-vgg16-fused-sum"),
        SSD300_VGG16_FULL,
        OVERFEAT_LIKE_VGG16,
        YOLO_LIKE_VGG16,
        SSD300_MOBILENETV1,
        SSDLITE320_MOBILENETV2,
        SSDLITE320_MOBILENETV3,
        SSDLITE320_EFFICIENTNETLITE0,
        SSD320_LITE,
        MULTIBOX_MOBILENETV2,
    )
}


def variant(name: str) -> ModelSpec:
    """The named variant.

    Raises:
        UnknownNameError: with the nearest names.
    """
    if name not in VARIANTS:
        raise UnknownNameError("model", name, VARIANTS)
    return VARIANTS[name]
