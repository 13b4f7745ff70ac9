"""`ssd boxes`: measure a detector's default boxes on a data set, search better ones, and write a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import perf_counter

import numpy as np

from singleshot.box_search.study import MOST_TIMED, BoxStudy, Goal, NetworkTimer, find_boxes
from singleshot.commands.options import BoxesOptions
from singleshot.data.recognise import default_splits, join, open_data
from singleshot.decode import decode_image
from singleshot.errors import ImageError, RequestError
from singleshot.machine import usable_cores
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.report.boxes import write_study
from singleshot.report.charts import require_matplotlib
from singleshot.spec import OBJECT, ModelSpec
from singleshot.train.box_choice import starting_boxes
from singleshot.train.initial import DEFAULT_WITH_IOU_MATCHING, base_spec, source_of_weights
from singleshot.train.recipe import recipe_for
from singleshot.types import Annotations

ROUNDS, RUNS = 8, 10
"""A network's time is the least of 8 medians of 10 runs: other programs only ever add to it."""


def search_boxes(options: BoxesOptions, progress: Callable[[int, int], None] = lambda _done, _most: None) -> BoxStudy:
    """Measure the default boxes that `ssd train` would start from, search better ones, and write the page.

    Args:
        options: what the user asked for.
        progress: called with the number of networks timed, and of those to time at most, before each.

    Raises:
        RequestError, DataError: no such set, split, model or size, or limits that no boxes can keep.
    """
    require_matplotlib()
    goal = Goal(max_boxes=options.most, max_milliseconds=options.latency)
    annotations, spec = _request(options)

    def timed(network: ModelSpec) -> float:
        progress(len(timer.milliseconds), MOST_TIMED)
        return network_milliseconds(network)

    timer = NetworkTimer(timed, timing_conditions())
    study = find_boxes(spec, annotations, goal, map_sizes_hw=grid_sizes, timer=timer)
    remarks = [f"{len(annotations)} images, {len(annotations.labels)} objects", *study.remarks]
    fullest = int(np.argmax(np.diff(annotations.starts)))
    try:
        image = decode_image(annotations.path(fullest))
    except ImageError as error:
        image = None
        remarks.append(str(error))
    study = replace(study, remarks=tuple(remarks))
    title = f"Default boxes of {spec.name} on {', '.join(options.data)}"
    write_study(options.report, title, study, image, annotations.ground_truth(fullest))
    return study


def _request(options: BoxesOptions) -> tuple[Annotations, ModelSpec]:
    """The data, and the detector with its classes and with the boxes that training would start from."""
    if not options.data:
        raise RequestError("which data? Give a folder or file: ssd boxes DATA")
    annotations = join([open_data(path, split=options.split or default_splits(path).train) for path in options.data])
    spec = base_spec(options.model or DEFAULT_WITH_IOU_MATCHING, options.input_size)
    if spec.is_quality_aware:
        raise RequestError(f"{spec.name} needs no default boxes that fit: its cells learn objects of any size")
    if spec.class_agnostic:
        annotations = annotations.as_one_class(OBJECT)
    source = source_of_weights(spec, init=None, model=options.model)
    boxes = starting_boxes(spec, source, scales=recipe_for(None, spec).box_scales)
    return annotations, replace(spec, class_names=annotations.class_names, boxes=boxes)


def network_milliseconds(spec: ModelSpec) -> float:
    """Time of one image of the input size in OpenVINO, fp32, on all cores that this process may use, measured.

    Args:
        spec: weights are seeded, as time does not depend on them.
    """
    from singleshot.export.openvino_ir import serialised, to_openvino
    from singleshot.runtime.openvino_backend import OpenVINOBackend

    engine = OpenVINOBackend(spec, serialised(to_openvino(SSD(spec, seed=0))), precision="fp32", origin=spec.name)
    images = [np.zeros((*spec.input_size_hw, 3), np.uint8)]
    engine.predict(images)  # compiles

    def seconds() -> float:
        started = perf_counter()
        engine.predict(images)
        return perf_counter() - started

    return 1e3 * min(median(seconds() for _ in range(RUNS)) for _ in range(ROUNDS))


def timing_conditions() -> str:
    """What `network_milliseconds` measures, in words."""
    threads = usable_cores()
    return f"OpenVINO, fp32, {threads} thread{'s' * (threads > 1)}, one image, without post-processing"
