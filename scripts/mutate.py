"""Mutation tests: change one line of src, run the test that guards it, and see that the test fails.

python scripts/mutate.py                 # all of tests/mutants/*.toml
python scripts/mutate.py --only data     # the list of one room, or the mutants of one source file

A list holds entries of this form; `find` occurs exactly once in the file:

    [[mutant]]
    file = "src/singleshot/ssd/matching.py"
    find = "ious >= iou_threshold"
    replace = "ious > iou_threshold"
    test = "tests/test_matching.py::test_an_iou_equal_to_the_threshold_matches"
    why = "an IoU equal to the threshold matches"

The checkout is not touched: each worker mutates a copy of its own. Exit code 1 if any mutant was not killed.
"""

from __future__ import annotations

import argparse
import ast
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("src", "tests", "scripts", "benchmarks", "docs", "README.md", "LICENSE", "pyproject.toml", "constraints.txt")
KEYS = {"file", "find", "replace", "test", "why"}
OUTCOMES = {0: "survived", 1: "killed"}
"""pytest's exit codes; every other one means that the test itself did not run."""


@dataclass(frozen=True)
class Mutant:
    """One change of one source file, and the test that must fail with it."""

    room: str
    file: str
    find: str
    replace: str
    test: str
    why: str

    def fault(self, root: Path) -> str | None:
        """Why the mutant cannot be applied to the tree at `root`, or None."""
        path, test_path = root / self.file, root / self.test.partition("::")[0]
        if not path.is_file():
            return f"{self.file} does not exist"
        count = path.read_text(encoding="utf-8").count(self.find)
        if count != 1:
            return f"{self.find!r} occurs {count} times in {self.file}, expected once"
        if self.find == self.replace:
            return "find and replace are the same"
        names = [name.partition("[")[0] for name in self.test.split("::")[1:]]
        if not names or not test_path.is_file() or not set(names) <= _definitions(test_path):
            return f"{self.test} does not exist"
        return None


@dataclass(frozen=True)
class Result:
    """What became of a mutant: killed, survived, skipped, stale or broken."""

    mutant: Mutant
    outcome: str
    seconds: float = 0.0
    details: str = ""


def read_mutants(folder: Path) -> list[Mutant]:
    """All mutants of a folder of lists, ordered by room. Raises ValueError for an entry of another form."""
    mutants = []
    for path in sorted(folder.glob("*.toml")):
        for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []), start=1):
            if set(entry) != KEYS:
                raise ValueError(f"mutant {number} of {path.name} has keys {sorted(entry)}, expected {sorted(KEYS)}")
            mutants.append(Mutant(room=path.stem, **entry))
    return mutants


def run_mutants(root: Path, mutants: Sequence[Mutant], jobs: int, timeout: float) -> Iterator[Result]:
    """Apply each mutant to a copy of `root` and run its test; results come in the order of the list."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            trees.put(_copy(root, Path(folder, str(number), "tree")))

        def run(mutant: Mutant) -> Result:
            tree = trees.get()
            try:
                return _run_one(tree, mutant, timeout)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(run, mutants)


def _copy(root: Path, tree: Path) -> Path:
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (root / name).is_file():
            tree.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, tree / name)
    shared = root.parent / "shared"
    if shared.is_dir():
        (tree.parent / "shared").symlink_to(shared)
    # Compiled once and checked by content: by time and size, a mutant of the same length could go unseen.
    compile_all = (sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", tree / "src")
    subprocess.run(compile_all, check=True)  # noqa: S603
    return tree


def _run_one(tree: Path, mutant: Mutant, timeout: float) -> Result:
    if fault := mutant.fault(tree):
        return Result(mutant, "stale", details=fault)
    path, started = tree / mutant.file, time.monotonic()
    original = path.read_text(encoding="utf-8")
    path.write_text(original.replace(mutant.find, mutant.replace), encoding="utf-8")
    try:
        if path.suffix == ".c":
            _compile_extension(tree)
        code, output = _pytest(tree, mutant.test, timeout)
    finally:
        path.write_text(original, encoding="utf-8")
        if path.suffix == ".c":
            _compile_extension(tree)
    outcome = "killed" if code is None else OUTCOMES.get(code, "broken")
    if outcome == "survived" and " passed" not in output:
        outcome = "skipped"
    return Result(mutant, outcome, time.monotonic() - started, "" if outcome == "killed" else output[-2000:])


def _pytest(tree: Path, test: str, timeout: float) -> tuple[int | None, str]:
    """Exit code (None: it took longer than `timeout` seconds) and output of one test, run in `tree`."""
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-rs", "--tb=short", "-p", "no:cacheprovider", test)
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "CI": "1"}
    process = subprocess.Popen(  # noqa: S603
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, "timed out"
    return process.returncode, output.decode(errors="replace")


def _compile_extension(tree: Path) -> None:
    command = (sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_ext", "--inplace", "--force")
    subprocess.run(command, cwd=tree, check=True, capture_output=True)  # noqa: S603


@functools.cache
def _definitions(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the mutants, print a line for each and a summary, and return the exit code."""
    parser = argparse.ArgumentParser(description="Change single lines of src and see that the named tests fail.")
    parser.add_argument("--only", action="append", help="a room (the list's name) or a source file; may be repeated")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="mutants at a time")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one test; longer counts as killed")
    options = parser.parse_args(arguments)
    mutants = read_mutants(root / "tests" / "mutants")
    if options.only:
        mutants = [mutant for mutant in mutants if any(name in (mutant.room, mutant.file) for name in options.only)]
    if not mutants:
        print(f"no mutants for {', '.join(options.only or ['tests/mutants'])}", file=sys.stderr)
        return 2
    outcomes: Counter[str] = Counter()
    for number, result in enumerate(run_mutants(root, mutants, options.jobs, options.timeout), start=1):
        outcomes[result.outcome] += 1
        mutant = result.mutant
        print(
            f"[{number}/{len(mutants)}] {result.outcome:<8} {result.seconds:5.1f} s  {mutant.room}: {mutant.why}",
            flush=True,
        )
        if result.details:
            print(f"    {mutant.file}: {mutant.find!r} -> {mutant.replace!r}\n    {mutant.test}", flush=True)
            print("    " + "\n    ".join(result.details.splitlines()[-12:]), flush=True)
    print(f"{len(mutants)} mutants: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    return 0 if outcomes["killed"] == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
