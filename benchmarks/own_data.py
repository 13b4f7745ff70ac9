"""How well the default command learns one's own images: five public sets, a fixed length, one figure each.

    python benchmarks/own_data.py lay-out --mirror MIRROR --out DATA [SET ...]
    python benchmarks/own_data.py run --data DATA --out RUNS [SET ...] [--split val] [--threads 2] [-- OPTIONS]
    python benchmarks/own_data.py table --out RUNS [--split val]
    python benchmarks/own_data.py yardstick --data DATA --out RUNS

`lay-out` writes VOC folders from git snapshots of the repositories (`MIRROR/OWNER+NAME/repo`, or any clone there); bccd
is copied from `--bccd`. Nothing is downloaded, and no image is part of this project: benchmarks/own_data/SET.txt keeps
only which image is in which part. `lay-out --new-split` chooses the parts anew (benchmarks/own_data_splits.py).

`run` trains each set by `ssd train DATA/SET OPTIONS` on its train part and validates on its val part, for so many
epochs as take at most twelve minutes on two cores (`OwnSet.epochs`; `--minutes 6` halves them). It judges `best/` by
COCO's and VOC's AP: on the val part while something is being chosen, once on the test part in the end (`--split test`).
A set that is done with the same options is not run again, and one that was stopped goes on.

The yardstick, on the same folders: ../shared/peers/torchvision_ssdlite.py (`yardstick` prints the commands).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from own_data_sets import (
    Labels,
    Snapshot,
    copy_voc_folder,
    drones,
    face_masks,
    faces,
    street,
    write_voc_folder,
)
from own_data_splits import Together, read_list, split_of_folder, write_image_sets, write_list

LISTS = Path(__file__).parent / "own_data"
BUDGET = 12
"""Minutes that `OwnSet.epochs` take at most, on two cores."""
RECORD = "own-data.json"
COLUMNS = ("AP", "AP50", "AP75", "APs", "VOC07 mAP")
PHONE = (301, 400)
"""Size of 184 images of the face masks, nearly all of them self-portraits of two people."""


@dataclass(frozen=True)
class OwnSet:
    """A set of the suite.

    Attributes:
        epochs: of a run.
        repository: OWNER/NAME on GitHub; None for bccd, which is copied with its own split.
        read: reads the labels of a snapshot.
        commit: of the snapshot.
        together: which images must not part.
        cut_below: rows at the lower edge that are no part of the photograph (a stock agency's name).
    """

    epochs: float
    repository: str | None = None
    read: Callable[[Snapshot], Labels] | None = None
    commit: str = "HEAD"
    together: Together = field(default_factory=Together)
    cut_below: int = 0


SETS = {
    "bccd": OwnSet(epochs=40),
    "masks": OwnSet(
        epochs=18,
        repository="AxelCoutisson/FaceMaskDetection",
        read=face_masks,
        together=Together(alike=0.85, key=lambda _name, size_wh: "phone" if size_wh == PHONE else None),
    ),
    "drones": OwnSet(
        epochs=6,
        repository="chuanenlin/drone-net",
        read=drones,
        together=Together(
            alike=0.95,
            key=lambda name, _size_wh: name.split("-260nw-")[0],
            number=lambda name: int(name.split("-260nw-")[1]),
            reach=100,
        ),
        cut_below=22,
    ),
    "faces": OwnSet(
        epochs=6,
        repository="penolove/pyxml",
        read=faces,
        commit="38022d596e847522fc8ae5e10eae6a2ab52d69ee",
    ),
    "street": OwnSet(
        epochs=20,
        repository="LS-chen/Pedestrian-behavior-detection-and-prediction",
        read=street,
        together=Together(number=int, reach=30, neighbours_alike=0.6),
    ),
}


def lay_out(name: str, options: argparse.Namespace) -> None:
    """Write a set as a VOC folder, with the parts that the list names; or choose them."""
    own, folder = SETS[name], options.out / name
    if folder.exists():
        print(f"{name}: is laid out in {folder}")
        return
    if own.repository is None or own.read is None:
        copy_voc_folder(options.bccd, folder)
        print(f"{name}: copied, with its own split, to {folder}")
        return
    place = options.mirror / own.repository.replace("/", "+") / "repo"
    if not place.is_dir():
        sys.exit(f"{name}: there is no {place}: git clone https://github.com/{own.repository} to it")
    snapshot = Snapshot(place, own.commit)
    labels = own.read(snapshot)
    write_voc_folder(snapshot, labels, folder)
    if options.new_split:
        write_list(LISTS / f"{name}.txt", split_of_folder(folder, own.together, cut_below=own.cut_below))
    split = read_list(LISTS / f"{name}.txt")
    missing = {image for part in split.values() for image in part} ^ set(labels)
    if missing:
        sys.exit(f"{name}: {len(missing)} images are in the list or in the snapshot alone, such as {min(missing)}")
    write_image_sets(folder, split)
    parts = ", ".join(f"{part} {len(images)}" for part, images in split.items())
    print(f"{name}: {len(labels)} images in {folder} ({parts})")


def run(name: str, options: argparse.Namespace, further: Sequence[str]) -> None:
    """Train and judge a set, where that is not done yet."""
    data, folder = options.data / name, options.out / name
    epochs = SETS[name].epochs * options.minutes / BUDGET
    train = ["train", str(data), "--epochs", f"{epochs:.4g}", "--threads", str(options.threads), *further]
    done = read_record(folder)
    if done.get("train", train) != train:
        sys.exit(f"{folder} holds another run: {' '.join(done['train'])}; take another --out")
    if "seconds" not in done:
        write_record(folder, {"train": train})
        done = {"train": train, **timed_training(train, folder)}
        write_record(folder, done)
    if options.split not in done:
        done[options.split] = judge(data, ["--model", str(folder / "run" / "best")], folder, options.split)
        write_record(folder, done)
    print(name, *(f"{column} {percent(value)}" for column, value in done[options.split].items()), flush=True)


def timed_training(train: Sequence[str], folder: Path) -> dict[str, float | bool]:
    """Train, or go on, and tell the seconds by the clock and of the processor, and whether it went on."""
    resume = ["--resume"] if (folder / "run" / "checkpoints").is_dir() else []
    start, before = time.monotonic(), os.times()
    ssd([*train, "--out", str(folder / "run"), *resume], folder / "train.log")
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.monotonic() - start, "processor": processor, "resumed": bool(resume)}


def read_record(folder: Path) -> dict[str, Any]:
    """What is done of a set: its `ssd train` arguments, its times, its figures on each split that was judged."""
    path = folder / RECORD
    record: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Keep what is done of a set."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps(record, indent=1))


def judge(data: Path, judged: Sequence[str], folder: Path, split: str) -> dict[str, float | None]:
    """The figures of a model (`--model FOLDER`) or detections (`--detections FILE`) by both protocols, from 0 to 1."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float | None] = {}
    for protocol in ("coco", "voc07"):
        written = folder / f"{split}-{protocol}.json"
        what = ["--split", split, "--protocol", protocol, "--json", str(written)]
        ssd(["evaluate", str(data), *judged, *what], folder / "evaluate.log")
        figures |= figures_of(json.loads(written.read_text()))
    return figures


def figures_of(evaluation: Mapping[str, Any]) -> dict[str, float | None]:
    """The suite's figures out of what `ssd evaluate --json` wrote under a protocol; None where there are no objects."""
    if evaluation["protocol"] == "voc07":
        return {"VOC07 mAP": evaluation["mAP"]}
    return {name: evaluation[name] for name in COLUMNS if name in evaluation}


def ssd(arguments: Sequence[str], log: Path) -> None:
    """Run our command line; its lines go to a log. It is stopped, and saves what it has, where this program is."""
    command = [sys.executable, "-m", "singleshot", *arguments]
    with log.open("a") as lines, subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT) as process:  # noqa: S603
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        sys.exit(f"ssd {' '.join(arguments)}: exit code {code}, see {log}")


def table(out: Path, sets: Sequence[str], split: str) -> str:
    """The figures of all sets that are done on a split, in percent, and their mean.

    Minutes are those of training with its validations, by the clock and of the processor; `*`: of the last stretch of a
    run that was resumed. `OUT/SPLIT.json` gets the same figures, from 0 to 1.
    """
    records = {name: read_record(out / name) for name in sets}
    done = {name: record for name, record in records.items() if split in record}
    if not done:
        sys.exit(f"no set of {', '.join(sets)} is done on {split} in {out}")
    lines = [f"| set | {' | '.join(COLUMNS)} | minutes | processor |", "|---" * (len(COLUMNS) + 3) + "|"]
    for name, record in done.items():
        mark = "*" if record["resumed"] else ""
        cells = [name, *(percent(record[split].get(column)) for column in COLUMNS)]
        cells += [f"{record[clock] / 60:.1f}{mark}" for clock in ("seconds", "processor")]
        lines.append(f"| {' | '.join(cells)} |")
    known = [[value for record in done.values() if is_known(value := record[split].get(column))] for column in COLUMNS]
    lines.append(f"| mean | {' | '.join(percent(fmean(values) if values else None) for values in known)} | | |")
    (out / f"{split}.json").write_text(json.dumps({name: record[split] for name, record in done.items()}, indent=1))
    return "\n".join(lines)


def is_known(figure: float | None) -> bool:
    """Whether a set has objects of the size that a figure is about."""
    return figure is not None and figure >= 0


def percent(figure: float | None) -> str:
    """A figure as it stands in a table; a dash where there are no objects of that size."""
    return f"{100 * figure:.1f}" if figure is not None and figure >= 0 else "-"


def yardstick(options: argparse.Namespace) -> None:
    """Print the commands that train and judge torchvision's SSDLite on the same parts for as many epochs."""
    for name in options.sets:
        epochs = max(1, round(SETS[name].epochs * options.minutes / BUDGET))
        print(
            f"python benchmarks/own_data_yardstick.py --data {options.data / name} --train-split train "
            f"--epochs {epochs} --threads {options.threads} --out {options.out / name}"
        )


def main() -> None:
    """Lay out, run, or print."""
    given = sys.argv[1:]
    given, further = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    laying = verbs.add_parser("lay-out")
    laying.add_argument("--mirror", type=Path, required=True, help="folder of git snapshots")
    laying.add_argument("--bccd", type=Path, default=Path("../shared/data/bccd"))
    laying.add_argument("--new-split", action="store_true", help="choose the parts anew and write benchmarks/own_data/")
    for verb in ("run", "table", "yardstick"):
        running = verbs.add_parser(verb)
        running.add_argument("--data", type=Path, required=verb != "table", help="folder that lay-out wrote")
        running.add_argument("--split", choices=("val", "test"), default="val")
        running.add_argument("--minutes", type=float, default=BUDGET, help="scales the epochs")
        running.add_argument("--threads", type=int, default=2)
    for sub in verbs.choices.values():
        sub.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; left out, all")
        sub.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unknown = set(options.sets) - set(SETS)
    if unknown:
        parser.error(f"no set {', '.join(sorted(unknown))}: there are {', '.join(SETS)}")
    options.sets = options.sets or list(SETS)
    if options.verb == "table":
        print(table(options.out, options.sets, options.split))
    elif options.verb == "yardstick":
        yardstick(options)
    else:
        for name in options.sets:
            lay_out(name, options) if options.verb == "lay-out" else run(name, options, further)


if __name__ == "__main__":
    main()
