"""`ssd compare`: runs and models side by side, by what they recorded and, on a labelled set, by what they detect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from singleshot.commands.evaluate import detect_known, labelled_set
from singleshot.commands.learnt_images import learnt_overlaps, paths_of
from singleshot.commands.options import CompareOptions, DetectionSource
from singleshot.console import percent
from singleshot.decode import decode_image
from singleshot.errors import ModelError, RequestError
from singleshot.evaluate.box_table import require_common_class
from singleshot.evaluate.compare import compare
from singleshot.evaluate.per_image import most_different
from singleshot.evaluate.protocols import evaluate
from singleshot.files import parse_json, read_regular
from singleshot.report import template
from singleshot.report.charts import require_matplotlib
from singleshot.report.comparison import (
    ComparisonContent,
    EvaluatedRun,
    RunRecord,
    differing_settings,
    fact_rows,
    render,
    significance,
)
from singleshot.report.page import flat, number
from singleshot.runtime.backends import engine_inside
from singleshot.runtime.detector import Detector
from singleshot.runtime.find_model import find_model
from singleshot.train.run_log import METRICS, SETTINGS, read_metrics
from singleshot.types import Annotations
from singleshot.weights.folder import WEIGHTS, ModelFolder

LIMIT_BYTES = 2**24
"""Of a `settings.json`."""
KEPT = ("best", "last")
"""Models of a run, the one to compare first."""
OnNote = Callable[[str], None]
OnImage = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class CompareResult:
    """Runs side by side.

    Attributes:
        content: as the page shows it.
    """

    content: ComparisonContent

    def lines(self) -> list[str]:
        """For people: the facts and figures as a table, then whether differences could be chance."""
        runs, evaluated = self.content.runs, self.content.evaluated
        rows = [["", *(run.name for run in runs)], *fact_rows(runs)]
        if evaluated:
            protocol = evaluated[0].evaluation.protocol
            for name, count in evaluated[0].evaluation.counts.items():
                if count.ground_truth:
                    aps = [of_run.evaluation.per_class.get(name) for of_run in evaluated]
                    rows.append([f"AP {name}", *map(percent, aps)])
            rows.append([f"mAP {protocol}", *(percent(of_run.evaluation.mean_ap) for of_run in evaluated)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = [
            "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
            for cells in (list(zip(row, widths, strict=True)) for row in rows)
        ]
        differing = len(differing_settings(runs))
        told = [f"{differing} settings differ: --report and --json list them"] if differing else []
        return [*table, *told, *significance(runs, evaluated)]

    def to_dict(self) -> dict[str, Any]:
        """The content of `ssd compare --json`."""
        runs, evaluated, annotations = self.content.runs, self.content.evaluated, self.content.annotations
        result: dict[str, Any] = {
            "runs": [_run_json(run) for run in runs],
            "settings": {name: dict(_named(runs, cells)) for name, *cells in differing_settings(runs)},
            "notes": list(self.content.notes),
        }
        if not evaluated or annotations is None:
            return result
        for row, of_run in zip(result["runs"], evaluated, strict=True):
            row["evaluation"] = of_run.evaluation.to_json()
        first = evaluated[0].evaluation.per_image
        result["comparisons"] = []
        for run, of_run in zip(runs[1:], evaluated[1:], strict=True):
            second = of_run.evaluation.per_image
            assert first is not None
            assert second is not None
            assert of_run.against_first is not None
            images = [
                {"file": annotations.files[index], "errors": [of.results[index].errors for of in (first, second)]}
                for index in most_different(first, second, self.content.images_each)
            ]
            compared = of_run.against_first.to_json()
            result["comparisons"].append({"first": runs[0].name, "second": run.name, **compared, "images": images})
        return result


def _named(runs: Sequence[RunRecord], cells: Sequence[str]) -> list[tuple[str, str]]:
    return [(run.name, cell) for run, cell in zip(runs, cells, strict=True)]


def _run_json(run: RunRecord) -> dict[str, Any]:
    best = run.best
    figures = None if best is None else {key: best.get(key) for key in ("step", "epoch", "mAP", "AR100", "per_class")}
    return {"name": run.name, "facts": dict(run.facts), "best_validation": figures}


def compare_runs(
    options: CompareOptions,
    *,
    on_note: OnNote = lambda _text: None,
    on_image: OnImage = lambda _done, _total: None,
) -> CompareResult:
    """Compare runs or models, and write the page.

    Args:
        options: what to compare.
        on_note: called with lines for people.
        on_image: called as a model goes through the images.

    Raises:
        RequestError: no such run, model, set or split; a class-agnostic model, which has no mAP.
        DataError: the set is empty, or a model knows none of its classes.
        ModelError, HashError: a model's folder is not whole.
    """
    if options.report is not None:
        require_matplotlib()
    names = short_names(options.runs)
    folders = [_folder_of(run) for run in options.runs]
    runs = [read_record(run, name, folder) for run, name, folder in zip(options.runs, names, folders, strict=True)]
    notes = _notes(names, folders)
    for note in notes:
        on_note(note)
    title = f"{', '.join(names[:-1])} and {names[-1]}"
    content = ComparisonContent(title, runs, notes)
    if options.data is not None:
        source = DetectionSource(split=options.split, device=options.device, backbone=options.backbone)
        annotations = labelled_set(options.data, source, on_note=on_note)
        evaluated = _evaluated(options, folders, annotations, on_note, on_image)
        learnt = [
            f"{name}: {line}"
            for name, of_run in zip(names, evaluated, strict=True)
            if of_run.evaluation.learnt_images is not None
            for line in of_run.evaluation.learnt_images.lines()
        ]
        title = f"{title} on {options.data}"
        content = replace(content, title=title, notes=[*notes, *learnt], annotations=annotations, evaluated=evaluated)
    if options.report is not None:
        template.write_page(options.report, render(content, decode_image))
    return CompareResult(content)


def short_names(runs: Sequence[str]) -> list[str]:
    """The runs without the folders that all of them lie in.

    >>> short_names(["runs/a/best", "runs/b/best"]), short_names(["runs/a", "ssdlite320-mobilenetv2"])
    (['a/best', 'b/best'], ['runs/a', 'ssdlite320-mobilenetv2'])
    """
    parts = [Path(run).parts for run in runs]
    cut = 0
    while all(len(of_run) > cut + 1 and of_run[cut] == parts[0][cut] for of_run in parts):
        cut += 1
    return [str(Path(*of_run[cut:])) for of_run in parts]


def _folder_of(run: str) -> ModelFolder:
    """The model of a run's folder, `best/` where there is one, or the model itself.

    Raises:
        RequestError, ModelError, HashError: there is none, or it is not whole.
    """
    folder = Path(run)
    if not (folder / METRICS).is_file():
        return find_model(run)
    kept = next((folder / name for name in KEPT if (folder / name).is_dir()), None)
    if kept is None:
        raise RequestError(f"{run} has no best/ and no last/: its training has not kept a model yet")
    return find_model(kept)


def read_record(run: str, name: str, model: ModelFolder) -> RunRecord:
    """What a run or model says of itself: its figures, curves and settings.

    Args:
        run: as the user gave it; of a model in a run's folder (`runs/mine/best`) the run's log counts, too.
        name: as it is shown.
        model: the folder of its weights, or of an engine.

    Raises:
        ModelError: the run's `settings.json` is damaged.
    """
    folder = next((place for place in (Path(run), Path(run).parent) if (place / METRICS).is_file()), None)
    is_of_run = folder is not None and (folder == Path(run) or Path(run).name in KEPT)
    history = read_metrics(folder / METRICS) if folder is not None and is_of_run else []
    settings = _settings(folder / SETTINGS) if folder is not None and is_of_run else {}
    record = RunRecord(name, {}, history, settings)
    return replace(
        record, facts={**_recorded_figures(record), **_model_facts(model), **_training_facts(model, history)}
    )


def _settings(file: Path) -> dict[str, str]:
    """Every setting as text, without where it came from; empty where the run has no such file."""
    if not file.is_file():
        return {}
    try:
        content = parse_json(read_regular(file, LIMIT_BYTES))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected the settings of a run by name, got {type(content).__name__}")
    return dict(flat({name: item.get("value") for name, item in content.items() if isinstance(item, dict)}))


def _recorded_figures(record: RunRecord) -> dict[str, str]:
    best = record.best
    if best is None:
        return {}
    at = number(best.get("epoch"))
    when = f"epoch {round(at, 1):g}" if at is not None else f"step {best.get('step')}"
    return {"best validation": percent(RunRecord.validated(best)), "reached at": when}


def _model_facts(model: ModelFolder) -> dict[str, str]:
    """What the model is; size and engine are those of what runs, which may be an export inside the folder."""
    height, width = model.spec.input_size_hw
    runs = model if model.export is not None else engine_inside(model) or model
    files = (WEIGHTS,) if runs.export is None else runs.export.files
    size = sum((runs.path / name).stat().st_size for name in files if (runs.path / name).is_file())
    return {
        "model": model.spec.name,
        "backbone": model.spec.backbone,
        "input": f"{width}x{height}",
        "classes": str(len(model.spec.class_names)),
        "runs on": "torch fp32" if runs.export is None else f"{runs.export.engine} {runs.export.precision}",
        "size": f"{size / 1e6:.1f} MB",
    }


def _training_facts(model: ModelFolder, history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """How it was trained, as far as that is recorded."""
    origin = model.provenance
    facts = {}
    for name, key in (("training images", "pictures"), ("steps", "updates"), ("seed", "seed")):
        if isinstance(origin.get(key), int):
            facts[name] = f"{origin[key]:,}"
    recipe = origin.get("recipe")
    if isinstance(recipe, dict) and isinstance(recipe.get("name"), str):
        facts["recipe"] = recipe["name"]
    speeds = [speed for row in history if (speed := number(row.get("pictures_per_second"))) is not None]
    if speeds:
        facts["trained at"] = f"{median(speeds):.3g} images/s"
    return facts


def _notes(names: Sequence[str], folders: Sequence[ModelFolder]) -> list[str]:
    """What forbids to compare recorded figures."""
    notes = []
    trained_on = [", ".join(map(str, folder.provenance.get("data") or [])) for folder in folders]
    if len(set(trained_on)) > 1:
        listed = "; ".join(f"{name}: {data or 'not recorded'}" for name, data in zip(names, trained_on, strict=True))
        notes.append(
            f"trained on different data, so what they recorded of their validations does not compare ({listed})"
        )
    if len({folder.spec.class_names for folder in folders}) > 1:
        counts = ", ".join(str(len(folder.spec.class_names)) for folder in folders)
        notes.append(
            f"they have different classes ({counts}); on a set, a class that a model does not know counts as 0"
        )
    return notes


def _evaluated(
    options: CompareOptions,
    folders: Sequence[ModelFolder],
    annotations: Annotations,
    on_note: OnNote,
    on_image: OnImage,
) -> list[EvaluatedRun]:
    """Each run on the set, and each but the first against the first."""
    evaluated: list[EvaluatedRun] = []
    for run, folder in zip(options.runs, folders, strict=True):
        if folder.spec.class_agnostic:
            raise RequestError(f"{run} is class-agnostic and has no mAP to compare: ssd evaluate gives its recall")
        require_common_class(run, folder.spec.class_names, str(options.data), annotations.class_names)
    learnt = learnt_overlaps(list(zip(options.runs, folders, strict=True)), paths_of(annotations), on_note=on_note)
    total = len(folders) * len(annotations)
    for place, folder in enumerate(folders):
        before = place * len(annotations)
        detector = Detector.load(folder, device=options.device, backbone=options.backbone)
        detections = detect_known(
            detector,
            annotations,
            on_note=on_note,
            on_image=lambda done, _total, before=before: on_image(before + done, total),  # type: ignore[misc]
        )
        evaluation = evaluate(annotations, detections, protocol=options.protocol)
        evaluation = replace(evaluation, learnt_images=learnt[place])
        against = None
        if evaluated:
            first = evaluated[0].detections
            against = compare(annotations, detections, first, protocol=evaluation.protocol)
        evaluated.append(EvaluatedRun(evaluation, detections, against))
    return evaluated
