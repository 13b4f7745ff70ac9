"""`ssd data`: check, describe and download data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cyclopts import App
from rich.console import Console

from singleshot.cli.verbs import epilogue
from singleshot.data.check import CheckReport

app = App(name="data", help="Check, describe, convert and download data sets (VOC, COCO, YOLO, CSV, labelling tools').")
for name, summary, example, following in (
    (
        "convert",
        "Write a data set in another format.",
        "ssd data convert my-images --to yolo --out my-images-yolo",
        "ssd data check my-images-yolo",
    ),
    (
        "split",
        "Split a data set into train, val and test, by class and by groups.",
        "ssd data split my-images --val 0.2 --test 0.1 --out my-images-split",
        "ssd train my-images-split",
    ),
    (
        "merge",
        "Join data sets into one.",
        "ssd data merge my-images more-images --out all-images",
        "ssd data split all-images --out all-images-split",
    ),
    (
        "crop",
        "Cut large images into tiles to train on.",
        "ssd data crop my-images --tile 640 --overlap 0.2 --out my-tiles",
        "ssd train my-tiles",
    ),
    (
        "show",
        "Write a page of a data set: images, boxes and faults.",
        "ssd data show my-images --out my-images.html",
        "open my-images.html, then ssd train my-images",
    ),
):
    app.command(f"singleshot.cli.data_sets:{name}", name=name, help=summary, help_epilogue=epilogue(example, following))


@app.command(help_epilogue=epilogue("ssd data check my-images", "ssd train my-images, once there is no fault left"))
def check(
    *data: Path,
    split: str | None = None,
    classes: list[str] | None = None,
    labels_on: Literal["stored", "displayed"] | None = None,
    json: Path | None = None,
) -> int:
    """Find every fault: bad boxes, unknown classes, unreadable or missing images, splits that overlap.

    Args:
        data: one or more data sets.
        split: check this split only.
        classes: the allowed classes; left out, any.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out, as stored
            where the annotations state the stored size of all of them.
        json: file for all faults found.
    """
    from singleshot.console import progress, remarks, results
    from singleshot.data.check import check as find_faults
    from singleshot.files import require_output, write_json

    require_output(json, "--json", data)
    with progress(remarks(), "decoding images") as on_image:
        report = find_faults(
            _require_data(data, "check"), split=split, class_names=classes, labels_on=labels_on, on_image=on_image
        )
    write_json(json, report.to_dict())
    _print_report(results(), report)
    return 1 if report.faults else 0


@app.command(help_epilogue=epilogue("ssd data stats my-images --out stats", "ssd boxes my-images"))
def stats(*data: Path, split: str | None = None, json: Path | None = None, out: Path | None = None) -> int:
    """Describe a data set in numbers and, with --out, in plots.

    Args:
        data: one or more data sets; several are joined.
        split: describe this split only.
        json: file for the numbers.
        out: folder for class counts, box sizes and shapes, and a contact sheet, as PNG.
    """
    from singleshot.console import remarks, results
    from singleshot.data.recognise import join, open_data
    from singleshot.data.stats import WRITTEN, write_stats
    from singleshot.data.stats import stats as count
    from singleshot.files import require_output, write_json

    require_output(json, "--json", data)
    if out is not None:
        for name in WRITTEN:
            require_output(out / name, "--out", data)
    annotations = join([open_data(path, split=split, headers=False) for path in _require_data(data, "stats")])
    for remark in annotations.remarks:
        remarks().print(remark)
    numbers = count(annotations) if out is None else write_stats(annotations, out)
    write_json(json, numbers)
    console = results()
    _print_stats(console, numbers)
    if out is not None:
        console.print(f"{', '.join(WRITTEN)} in {out}")
    return 0


@app.command(help_epilogue=epilogue("ssd data download voc2007 --out data", "ssd data check data/VOCdevkit/VOC2007"))
def download(name: str, *, out: Path = Path("data"), keep: bool = False) -> int:
    """Download a public data set from its official address, verify it and unpack it; resumes where it stopped.

    Args:
        name: `voc2007` (0.9 GB), `voc2012` (2 GB) or `coco2017` (20 GB).
        out: folder for the data set.
        keep: keep the archives.
    """
    from singleshot.console import remarks, results
    from singleshot.data.download import DOWNLOADS
    from singleshot.data.download import download as fetch_set

    stderr = remarks()
    if name in DOWNLOADS:
        stderr.print(f"{name}: {DOWNLOADS[name].terms}")
    with _download_progress(stderr) as on_progress:
        folder = fetch_set(name, out, keep=keep, on_progress=on_progress)
    results().print(str(folder))
    return 0


@contextmanager
def _download_progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yields a function of archive, bytes downloaded and all bytes: bars on a terminal, elsewhere lines."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TransferSpeedColumn

    from singleshot.console import progress

    if not console.is_terminal:
        with progress(console, "downloading (MB)") as report:
            yield lambda _archive, done, total: report(done // 10**6, (total or done) // 10**6)
        return
    tasks = dict[str, TaskID]()
    with Progress("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console) as bars:

        def show(archive: str, done: int, total: int) -> None:
            if archive not in tasks:
                tasks[archive] = bars.add_task(archive)
            bars.update(tasks[archive], completed=done, total=total or None)

        yield show


def _require_data(data: tuple[Path, ...], verb: str) -> tuple[Path, ...]:
    from singleshot.errors import RequestError

    if not data:
        raise RequestError(f"which data? Give a folder or file: ssd data {verb} DATA")
    return data


def _print_report(console: Console, report: CheckReport) -> None:
    from singleshot.data.faults import SHOWN

    names = ", ".join(f"{name or 'no split'} {count}" for name, count in report.splits.items())
    console.print(f"{report.images} images, {report.boxes} boxes ({names})")
    for remark in report.remarks:
        console.print(remark)
    if report.nearly_shared:
        count = len(report.nearly_shared)
        console.print(f"nearly in two splits: {count} (figures on them flatter)")
        for shared in report.nearly_shared[:SHOWN]:
            console.print(f"  {shared}")
        if count > SHOWN:
            console.print(f"  and {count - SHOWN} more (--json lists all)")
    for kind, faults in report.by_kind().items():
        console.print(f"{kind}: {len(faults)} ({faults[0].consequence})")
        for fault in faults[:SHOWN]:
            console.print(f"  {fault}")
        if len(faults) > SHOWN:
            console.print(f"  and {len(faults) - SHOWN} more (--json lists all)")
    console.print("no faults" if not report.faults else f"{len(report.faults)} faults")


def _print_stats(console: Console, numbers: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from singleshot.console import printable

    console.print(
        f"{numbers['images']} images ({numbers['background_images']} without objects), {numbers['boxes']} boxes "
        f"({numbers['difficult']} difficult, {numbers['crowd']} crowd)"
    )
    table = Table("class", box=box.SIMPLE)
    for title in ("boxes", "images"):
        table.add_column(title, justify="right")
    for name, counts in numbers["classes"].items():
        table.add_row(Text(printable(name)), str(counts["boxes"]), str(counts["images"]))
    console.print(table)
    for key in ("size_pixels", "size_relative", "aspect_ratio", "boxes_per_image"):
        spread = numbers[key]
        if spread["p50"] is not None:
            middle = f"half between {spread['p25']:.3g} and {spread['p75']:.3g}, median {spread['p50']:.3g}"
            console.print(f"{key.replace('_', ' ')}: {middle}")
    for kind, count in numbers["bad_boxes"].items():
        console.print(f"{kind}: {count} boxes (see `ssd data check`)")
