"""Settings for all tests: threads, order, and how many examples Hypothesis tries."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = ("export_fixtures", "train_fixtures")

# No deadline: the machines are shared, and speed is measured in benchmarks. In CI the examples are always the same.
settings.register_profile("shared", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("shared")

# torch sums in another order with another number of threads. Two processes of tests share two cores.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--order-seed`."""
    parser.addoption(
        "--order-seed", type=int, help="run files, and the tests in each, in the random order of this seed"
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Print what repeats the order."""
    seed = config.getoption("--order-seed")
    return None if seed is None else f"random order: --order-seed={seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the files, then the tests of each, which stay together because they share fixtures."""
    seed = config.getoption("--order-seed")
    if seed is None:
        return
    generator = random.Random(seed)
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(str(item.path), []).append(item)
    for tests in files.values():
        generator.shuffle(tests)
    order = list(files.values())
    generator.shuffle(order)
    items[:] = [item for tests in order for item in tests]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread of torch for every test, whatever the test before left behind (`ssd train --threads` sets it)."""
    _one_thread()
    yield
    _one_thread()


def _one_thread() -> None:
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
