"""The whole measurement: cases, whole processes, folders, the machine's limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from singleshot.commands.learnt_images import learnt_overlaps, paths_of
from singleshot.data.classes import only_classes
from singleshot.data.recognise import open_data
from singleshot.evaluate.protocols import evaluate
from singleshot.lab.bench import end_to_end, report
from singleshot.lab.bench.limits import convolution_rate, copy_rate, count_operations, stage_milliseconds
from singleshot.lab.bench.machine import other_load, processor, require_quiet
from singleshot.lab.bench.options import BenchOptions
from singleshot.lab.bench.ours import PRECISIONS, Engine, ours
from singleshot.lab.bench.peers import FAMILIES, peers, require_known
from singleshot.lab.bench.timing import Case, Measured, run_benchmark
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.find_model import find_model
from singleshot.variants import VARIANTS

FOLDER_IMAGES = 400
SHOWN = 0.5
"""The score from which `ssd detect` shows what it finds."""


def run(
    models: Sequence[str], options: BenchOptions, on_stage: Callable[[str], None] = lambda _stage: None
) -> Measured:
    """Measure all that is asked for, one thing after another.

    Raises:
        MachineError: it is busy; RequestError: no such model or peer; DataError: data that cannot be used.
    """
    require_known(options.peers)
    load = other_load(2.0) if options.loaded else require_quiet()
    machine = {"processor": processor(), "threads": options.threads, "rounds": options.rounds}
    measured = Measured({**machine, "other_load": round(load, 2)})
    cases, engines = _our_cases(models, options, on_stage)
    if options.peers:
        on_stage(f"preparing {', '.join(options.peers)}")
    families = [case.family for case in cases]
    cases = [*peers(options.peers, families, threads=options.threads), *cases]
    if options.limits:
        on_stage("measuring what the machine can do")
        measured.limits = {precision: convolution_rate(precision, threads=options.threads) for precision in PRECISIONS}
        measured.limits["copy"] = copy_rate()
    rounds = options.rounds
    measured.rows = report.values(
        run_benchmark(cases, rounds, lambda done: on_stage(f"timing: round {done} of {rounds}"))
    )
    if options.limits:
        on_stage("timing backbone, extra maps and heads apart")
        _stages(models, options, measured)
    if options.data is not None:
        _accuracy_and_folders(options, options.data, measured, engines, on_stage)
        if options.split is not None:
            _learnt_images(models, options.data, options.split, measured)
    if options.cold:
        on_stage("starting from nothing")
        _cold_starts(options, measured)
    return measured


def _our_cases(
    models: Sequence[str], options: BenchOptions, on_stage: Callable[[str], None]
) -> tuple[list[Case], dict[str, Engine]]:
    """Our models as cases, and the engines of those that have weights."""
    cases: list[Case] = []
    engines: dict[str, Engine] = {}
    for model in models:
        on_stage(f"preparing {model}")
        for case, engine in ours(model, threads=options.threads):
            cases.append(case)
            if model not in VARIANTS:
                engines[case.name] = engine
    return cases, engines


def _stages(models: Sequence[str], options: BenchOptions, measured: Measured) -> None:
    """Backbone, extra maps and heads apart, and how near each row comes to the machine's own rate."""
    architectures = [name for name in models if name in VARIANTS]
    measured.stages = {name: stage_milliseconds(VARIANTS[name], threads=options.threads) for name in architectures}
    operations = {name: count_operations(VARIANTS[name]) for name in architectures}
    for row in measured.rows:
        precision = row["name"].rpartition(", ")[2]
        if row["family"] in operations and row["name"].startswith("ours") and precision in measured.limits:
            rate = operations[row["family"]] / row["network_ms"] * 1e3
            row["of_limit"] = rate / measured.limits[precision]


def _accuracy_and_folders(
    options: BenchOptions, data: str, measured: Measured, engines: dict[str, Engine], on_stage: Callable[[str], None]
) -> None:
    """On a labelled set: mAP of models with weights where a split was given, and files a second."""
    images = open_data(data, split=options.split)
    files = [Path(images.path(number)) for number in range(min(FOLDER_IMAGES, len(images)))]
    for name, engine in engines.items():
        if options.split is not None:
            on_stage(f"accuracy of {name}")
            known = only_classes(images, [label for label in engine.spec.class_names if label in images.class_names])
            detections = detect_in_set(Detector(engine, name=name), known)
            measured.accuracy[name] = evaluate(known, detections).mean_ap or 0.0
        on_stage(f"a folder of images through {name}")
        detector = Detector(engine, name=name, score=SHOWN)
        measured.folders[name] = end_to_end.images_a_second(end_to_end.folder_run(detector, files))
    if "torchvision" not in options.peers:
        return
    for name, family in FAMILIES.items():
        if any(row["family"] == family for row in measured.rows):
            on_stage(f"a folder of images through torchvision's {name}")
            run_folder = end_to_end.torchvision_folder_run(name, files[:64], threads=options.threads)
            measured.folders[f"torchvision {name}"] = end_to_end.images_a_second(run_folder, times=3)


def _learnt_images(models: Sequence[str], data: str, split: str, measured: Measured) -> None:
    """Whether the models with weights have learnt the images of their mAP."""
    folders = [(model, find_model(model)) for model in models if model not in VARIANTS]
    overlaps = learnt_overlaps(folders, paths_of(open_data(data, split=split)), on_note=lambda _line: None)
    measured.learnt_images = {
        model: overlap for (model, _), overlap in zip(folders, overlaps, strict=True) if overlap is not None
    }


def _cold_starts(options: BenchOptions, measured: Measured) -> None:
    """Seconds and megabytes of fresh processes."""
    measured.cold["ssd detect, default model"] = end_to_end.cold_start(end_to_end.our_program())
    for name in FAMILIES:
        program = end_to_end.torchvision_program(name, threads=options.threads)
        measured.cold[f"torchvision {name}"] = end_to_end.cold_start(program, times=3)
