"""How many batches fit into shared memory is counted before a worker starts."""

from __future__ import annotations

import pytest

from singleshot.data import batch_memory
from singleshot.data.batch_memory import MOST_AHEAD, batches_ahead
from singleshot.errors import MachineError

BATCH = 10**6


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Bytes that are free, to be set by a test."""
    memory: list[int | None] = [None]
    monkeypatch.setattr(batch_memory, "free_shared_memory", lambda: memory[0])
    return memory


@pytest.mark.parametrize(
    ("memory", "workers", "ahead"),
    [
        (None, 2, MOST_AHEAD),  # a system without such a folder
        (0, 0, MOST_AHEAD),  # nothing is handed over
        (100 * BATCH, 2, MOST_AHEAD),
        (10 * BATCH, 2, 3),  # 9 usable, 2 held: 7 for two workers
        (10 * BATCH, 7, 1),
    ],
)
def test_workers_make_as_many_in_advance_as_fit(
    free: list[int | None], memory: int | None, workers: int, ahead: int
) -> None:
    free[0] = memory
    assert batches_ahead(BATCH, workers=workers, held=2) == ahead


@pytest.mark.parametrize(
    ("memory", "processes", "advice"),
    [(10, 1, "--workers 7"), (10, 2, "--workers 2"), (2, 1, "--workers 0"), (0, 1, "--shm-size")],
)
def test_too_little_is_refused_with_what_would_fit(
    free: list[int | None], memory: int, processes: int, advice: str
) -> None:
    free[0] = memory * BATCH
    with pytest.raises(MachineError, match=advice):
        batches_ahead(BATCH, workers=8, held=2, processes=processes)
