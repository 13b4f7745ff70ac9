"""A large job of `ssd detect --part 1/1` that is killed again and again: no file twice, none missing.

    python benchmarks/detect_kills.py IMAGES [--files 100000] [--bad 1000] [--kills 20] [--folder FOLDER]

Makes a folder of hard links to the images of IMAGES, in turn, and of files that are none; starts the job, kills it
(SIGKILL) at random moments, starts it again, and lets the last start end. Prints files a second, the seconds that a
kill costs and the largest memory of any start. Exit 1 where a file is there twice or missing, or has an error that it
should not have, or none that it should. FOLDER is for the job, best on the disk of IMAGES.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from singleshot.data.images import is_image

COMMAND = [sys.executable, "-m", "singleshot", "detect"]


def make_job(images: Path, folder: Path, files: int, bad: int) -> set[str]:
    """Hard links (copies, on another disk) to the images, and files that are none; returns the names of those."""
    sources = sorted(path for path in images.rglob("*") if is_image(path.name))
    every = files // bad if bad else files + 1
    names = set()
    for number in range(files):
        place = folder / f"{number // 1_000:04d}" / f"{number:08d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % every == 0 and len(names) < bad:
            names.add(str(place))
            place.write_bytes(sources[0].read_bytes()[: number % 1_000])
            continue
        source = sources[number % len(sources)].resolve()
        try:
            os.link(source, place)
        except OSError:
            shutil.copy(source, place)
    return names


def run_once(command: Sequence[str], seconds: float | None, log: Path) -> tuple[float, int, int]:
    """Run a command and kill it after so many seconds; its seconds, exit code and largest resident memory in KiB."""
    began = time.monotonic()
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)  # noqa: S603 (our own command)
        timer = None if seconds is None else began + seconds
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                return time.monotonic() - began, os.waitstatus_to_exitcode(status), usage.ru_maxrss
            if timer is not None and time.monotonic() > timer:
                os.kill(process.pid, signal.SIGKILL)
                timer = None
            time.sleep(0.02)


def done(job: Path) -> int:
    """How many files' results are saved; a hundred a shard, so up to 99 too many at the end."""
    return 100 * len(list((job / "shards").glob("*.jsonl")))


def check(out: Path, source: Path, bad: set[str]) -> list[str]:
    """What is wrong with the results: nothing, or lines."""
    expected = sorted(str(path) for path in source.rglob("*.jpg"))
    seen, failed = [], set()
    with out.open() as file:
        for line in file:
            row = json.loads(line)
            seen.append(row["file"])
            if "error" in row:
                failed.add(row["file"])
    wrong = []
    if len(set(seen)) != len(seen):
        wrong.append(f"{len(seen) - len(set(seen))} files are there twice")
    if set(seen) != set(expected):
        wrong.append(f"{len(set(expected) - set(seen))} files are missing")
    if failed != bad:
        wrong.append(f"{len(failed ^ bad)} error rows are wrong")
    return wrong


def main() -> int:
    """Make the job, kill it, check it, remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--bad", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--least", type=float, default=2.0, help="seconds that a start lives at least")
    parser.add_argument("--most", type=float, default=60.0, help="seconds that a start lives at most, if it is killed")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="job-", dir=arguments.folder) as folder:
        return drill(arguments, Path(folder))


def drill(arguments: argparse.Namespace, folder: Path) -> int:
    """The same in a folder; the exit code."""
    source, out, log = folder / "source", folder / "out.jsonl", folder / "log.txt"
    bad = make_job(arguments.images, source, arguments.files, arguments.bad)
    command = [*COMMAND, str(source), "--part", "1/1", "--json", str(out)]
    generator, memory, seconds, kills = random.Random(0), 0, 0.0, 0
    for _ in range(arguments.kills):
        before = done(Path(f"{out}.job"))
        lived, code, peak = run_once(command, generator.uniform(arguments.least, arguments.most), log)
        memory, seconds = max(memory, peak), seconds + lived
        kills += code == -signal.SIGKILL
        print(f"killed after {lived:.1f} s: {done(Path(f'{out}.job')) - before:,} more files", flush=True)
        if code != -signal.SIGKILL:
            break
    before = min(done(Path(f"{out}.job")), arguments.files)
    lived, code, peak = run_once(command, None, log)
    memory, rate = max(memory, peak), (arguments.files - before) / lived
    wrong = check(out, source, bad)
    lost = (seconds - before / rate) / kills if kills else 0.0
    print(f"{arguments.files:,} files, {len(bad):,} of them bad, {kills} kills; the last start ended with {code}")
    print(
        f"{rate:.0f} files a second in the last start, {lost:.1f} s lost to each kill, {memory / 1024:.0f} MB at most"
    )
    print(*(wrong or ["no file twice, none missing"]), sep="\n")
    return 1 if wrong or code != (1 if bad else 0) else 0


if __name__ == "__main__":
    sys.exit(main())
