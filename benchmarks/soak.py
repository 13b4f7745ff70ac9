"""Every row of docs/reliability.md in its full count, one after another; a run that was stopped goes on where it was.

    python benchmarks/soak.py [--quick] [--only WORD] [--out runs/soak] [--list]

Each row is a command of its own. Its result is written to OUT/results.json as soon as it ends, with the revision of the
code; only rows without a kept promise of this revision are run. When every row has a result, the table in
docs/reliability.md is written.
`--quick` runs small counts, and writes no page. Exit 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make soak -->", "<!-- end of what make soak writes -->"


@dataclass(frozen=True)
class Row:
    """A fault, and the command that shows what it gives.

    Attributes:
        fault: in words.
        count: how often it is tried.
        command: as a person would type it in a checkout: `NAME=VALUE ... pytest FILE` or `FILE.py OPTION ...`.
        quick: the same with a small count; empty where the full count takes seconds.
        minutes: expected for the full count, on two free cores.
    """

    fault: str
    count: str
    command: str
    quick: str = ""
    minutes: float = 0.5


@dataclass(frozen=True)
class Result:
    """What a command gave.

    Attributes:
        kept: whether the promise was kept.
        figure: the last words of the command.
        seconds: that it took.
        revision: of the code.
    """

    kept: bool
    figure: str
    seconds: float
    revision: str


INPUTS = "benchmarks/input_drills.py"
FILES = "benchmarks/fuzz_files.py"
SERVING = "benchmarks/serve_drills.py"
SERVING_SAMPLE = "pytest tests/test_serve_drills.py"
KILLS = "benchmarks/detect_kills.py ../shared/data/bccd"
ROWS = (
    Row("pixel bombs", "20", f"{INPUTS} pixel_bombs"),
    Row("truncated files", "200 cuts", f"{INPUTS} cut_files"),
    Row("damaged images", "100,000", f"{INPUTS} mutations", minutes=1),
    Row("exotic formats", "all that Pillow writes", f"{INPUTS} exotic_formats"),
    Row("EXIF orientations", "48 files", f"{INPUTS} orientations"),
    Row("colours", "14 kinds", f"{INPUTS} colours"),
    Row("animations", "3", f"{INPUTS} animations"),
    Row("sizes", "300", f"{INPUTS} sizes"),
    Row("bad boxes", "10,000", f"{INPUTS} bad_boxes"),
    Row("JSON and XML that are meant to hurt", "12", f"{INPUTS} entity_bombs"),
    Row("code in checkpoints", "60", f"{INPUTS} pickles"),
    Row("flipped bits", "1,000", f"{INPUTS} flipped_bits"),
    Row("networks that are not finite", "4", f"{INPUTS} poisoned_weights"),
    Row("damaged annotations", "20,000", f"{FILES} readers", f"{FILES} readers --count 100", 5),
    Row("damaged files of boxes", "20,000", f"{FILES} boxes", f"{FILES} boxes --count 100", 2),
    Row("damaged foreign weights", "20,000", f"{FILES} importers", f"{FILES} importers --count 50", 10),
    Row("duplicate ids, unknown classes, missing images", "each", "pytest tests/test_data_check.py"),
    Row("no objects", "each", "pytest tests/test_data_sample.py"),
    Row("archives and downloads", "each", "pytest tests/test_data_download.py"),
    Row("damaged exports", "each", "pytest tests/test_export_damaged.py"),
    Row("weights that do not fit", "each", "pytest tests/test_build.py"),
    Row("cut and damaged videos, playlists", "400 cuts, 200 damages, 6 playlists", "benchmarks/video_faults.py",
        "pytest tests/test_video_frames.py", 5),
    Row("a long video", "20,000 frames", "benchmarks/video.py --only long", "pytest tests/test_detect_video.py", 5),
    Row("tracks over hours", "90,000 frames", "benchmarks/tracks.py --memory 90000",
        "benchmarks/tracks.py --memory 2000", 3),
    Row("SIGKILL while saving, and during a run", "200 kills", "SINGLESHOT_KILLS=200 pytest tests/test_kills.py",
        "SINGLESHOT_KILLS=5 pytest tests/test_kills.py", 4),
    Row("disk full", "each", "pytest tests/test_checkpoint.py tests/test_files.py -k disk"),
    Row("a run that is cut after every update", "each", "pytest tests/test_train_resume.py", minutes=2),
    Row("SIGTERM on two ranks", "50 signals", "SINGLESHOT_SIGNALS=50 pytest tests/test_distributed.py -k again",
        "pytest tests/test_distributed.py -k again", 14),
    Row("a rank dies or hangs", "20 kills, 2 hangs",
        "SINGLESHOT_RANK_KILLS=20 pytest tests/test_distributed.py -k 'killed or hanging'",
        "pytest tests/test_distributed.py -k killed", 6),
    Row("a loader's process dies or hangs", "each", "pytest tests/test_loader_workers.py"),
    Row("a loss that is not finite; a folder in use", "each", "pytest tests/test_train_refused.py"),
    Row("the same seed", "2 numbers of threads", "pytest tests/test_train.py -k seed"),
    Row("huge bodies", "100", f"{SERVING} bodies", SERVING_SAMPLE, 1),
    Row("stalled clients", "500", f"{SERVING} stalled", SERVING_SAMPLE, 1),
    Row("clients that go away", "1,000", f"{SERVING} disconnects", SERVING_SAMPLE, 1),
    Row("SIGTERM with 50 in flight", "10 times", f"{SERVING} stop", SERVING_SAMPLE, 1),
    Row("killed decoders", "100", f"{SERVING} decoders", SERVING_SAMPLE, 2),
    Row("killed engines", "100", f"{SERVING} engine", SERVING_SAMPLE, 3),
    Row("paths and names that lead out", "64", f"{SERVING} traversal", SERVING_SAMPLE),
    Row("foreign hosts and origins", "16", f"{SERVING} hosts", SERVING_SAMPLE),
    Row("ten times the capacity", "600 s", f"{SERVING} overload", SERVING_SAMPLE, 13),
    Row("leaks", "100,000 requests", f"{SERVING} leak", SERVING_SAMPLE, 8),
    Row("a server that leaks is noticed", "2,000 requests", f"{SERVING} leak --leaking --requests 2000",
        SERVING_SAMPLE, 1),
    Row("a job of 100,000 files that is killed", "20 kills, 1,000 bad files", f"{KILLS} --most 16",
        f"{KILLS} --files 1000 --bad 10 --kills 2 --most 4", 9),
    Row("malformed calls", "10,000", "benchmarks/fuzz_serve.py", "benchmarks/fuzz_serve.py --cases 100", 10),
    Row("an address as input; model management", "each", "pytest tests/test_serve_openapi.py"),
    Row("markup, other origins, a real browser", "each", "pytest tests/test_serve_page.py", minutes=2),
)  # fmt: skip
"""All but what needs a GPU (its memory running out)."""

NOTICED = {"leak --leaking": "FAULT memory grew"}
"""Commands that must fail, and what they must say: they show that a drill sees what it looks for."""


def revision() -> str:
    """The commit of the checkout, and whether something in it was changed since."""
    git = ("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*")
    run = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    return run.stdout.strip() or "unknown"


def arguments_of(command: str) -> tuple[dict[str, str], list[str]]:
    """Environment and arguments of a row's command."""
    words = shlex.split(command)
    environment = dict[str, str]()
    while "=" in words[0]:
        name, _, environment[name] = words.pop(0).partition("=")
    if words[0] == "pytest":
        words[:1] = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return environment, [sys.executable, *words]


def execute(command: str, *, most_seconds: float, code: str) -> Result:
    """Run a row's command, and end all that it started where it takes too long or is interrupted."""
    environment, arguments = arguments_of(command)
    start = time.monotonic()
    process = subprocess.Popen(  # noqa: S603  (commands of the table)
        arguments, cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=most_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0] + f"\nit took more than {most_seconds / 60:.0f} minutes"
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    notice = next((said for words, said in NOTICED.items() if words in command), None)
    kept = process.returncode == 0 if notice is None else process.returncode == 1 and notice in output
    if "pytest" in arguments:  # tests that are all skipped show nothing
        kept = kept and re.search(r"\d+ passed", output) is not None
    return Result(kept, figure_of(output), round(time.monotonic() - start, 1), code)


def figure_of(output: str) -> str:
    """The lines of an output on one; of a test run, the last."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    if lines and re.search(r"\d+ (?:passed|failed|error|skipped)", lines[-1]):
        lines = lines[-1:]
    text = "; ".join(lines).replace("|", "/")
    return text if len(text) <= 600 else f"... {text[-600:]}"


def read_results(file: Path) -> dict[str, Result]:
    """Command -> its last result; none where there is no file."""
    if not file.is_file():
        return {}
    stored = json.loads(file.read_text(encoding="utf-8"))
    return {command: Result(**fields) for command, fields in stored.items()}


def soak(rows: list[tuple[Row, str]], file: Path, *, code: str) -> dict[str, Result]:
    """Run the rows' commands that have no kept promise of this revision; write the file after each."""
    results = read_results(file)
    for row, command in rows:
        before = results.get(command)
        if before and before.kept and before.revision == code:
            print(f"{row.fault}: done before ({before.seconds:.0f} s)", flush=True)
            continue
        print(f"{row.fault}: {command}", flush=True)
        result = execute(command, most_seconds=60 * (10 + 4 * row.minutes), code=code)
        results[command] = result
        beside = file.with_suffix(".tmp")
        stored = {key: asdict(value) for key, value in results.items()}
        beside.write_text(json.dumps(stored, indent=1), encoding="utf-8")
        beside.replace(file)
        print(f"  {'kept' if result.kept else 'BROKEN'}: {result.figure}  [{result.seconds:.0f} s]", flush=True)
    return results


def table(rows: list[tuple[Row, str]], results: dict[str, Result]) -> str:
    """The rows with their results, for the page."""
    total = sum(results[command].seconds for command in {command for _, command in rows}) / 60
    revisions = ", ".join(sorted({results[command].revision for _, command in rows}))
    lines = [f"{len(rows)} rows in {total:.0f} minutes, at revision {revisions}.", ""]
    lines += ["| fault | count | result | command |", "|---|---|---|---|"]
    for row, command in rows:
        result = results[command]
        kept = "kept" if result.kept else "**broken**"
        lines.append(f"| {row.fault} | {row.count} | {kept}: {result.figure} | `{command}` |")
    return "\n".join(lines)


def with_table(page: str, text: str) -> str:
    """The page with the table in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small counts, no page")
    parser.add_argument("--only", default="", metavar="WORD", help="rows whose fault or command holds this")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "soak", help="folder for the results")
    parser.add_argument("--list", action="store_true", help="print the rows and the minutes that they take")
    options = parser.parse_args()
    rows = [(row, (options.quick and row.quick) or row.command) for row in ROWS]
    chosen = [(row, command) for row, command in rows if options.only in row.fault or options.only in command]
    if options.list:
        for row, command in chosen:
            print(f"{row.minutes:5.1f} min  {row.fault} ({row.count}): {command}")
        print(f"{sum(row.minutes for row, _ in chosen):5.1f} min in all, in full")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    results = soak(chosen, options.out / f"{'quick' if options.quick else 'results'}.json", code=revision())
    if not options.quick and all(command in results for _, command in rows):
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(rows, results)), encoding="utf-8")
        print(f"written: {PAGE.relative_to(ROOT)}")
    broken = [row.fault for row, command in chosen if not results[command].kept]
    print(f"{len(chosen) - len(broken)} of {len(chosen)} promises kept", *broken, sep="\n  ")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
