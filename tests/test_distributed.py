"""Several processes learn as one: torchrun with gloo, two processes on the processor."""

from __future__ import annotations

import functools
import operator
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import multiprocessing

from data_fixtures import voc
from singleshot.data.image_hashes import hash_images
from singleshot.data.loader import BatchSampler, Shard
from singleshot.data.recognise import open_data
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.ssd.tensors import Batch
from singleshot.train.distributed import Ranks
from singleshot.train.optimizer import CaffeSGD, parameter_groups
from singleshot.train.recipe import CAFFE
from singleshot.train.step import TrainStep
from singleshot.variants import SSD300_VGG16
from singleshot.weights.folder import read_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

KILLS = int(os.environ.get("SINGLESHOT_RANK_KILLS", "1"))
SIGNALS = int(os.environ.get("SINGLESHOT_SIGNALS", "1"))
STEPS = 6 + 4 * SIGNALS
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")

SMALL = replace(SSD300_VGG16, width=0.0625)
GLOBAL = replace(CAFFE, normalise="global", batch_size=16)


def batch_of_16() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 300, 300), dtype=torch.uint8, generator=generator)
    corners = torch.rand(16, 3, 2, 2, generator=generator).sort(dim=2).values.flatten(2)
    classes = torch.randint(1, 21, (16, 3), generator=generator)
    classes[:5, 1:] = 0  # the first process's images hold fewer ground-truth boxes than the second's
    return Batch(images.contiguous(memory_format=torch.channels_last), corners, classes, tuple("x" * 16))


def gradients(batch: Batch, ranks: Ranks) -> list[torch.Tensor]:
    model = SSD(SMALL, seed=0).train()
    optimizer = CaffeSGD(parameter_groups(model, GLOBAL), learning_rate=0.0)
    TrainStep(model, optimizer, GLOBAL, ranks=ranks)([batch], step=0)
    return [parameter.grad.clone() for parameter in model.parameters()]


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    whole = batch_of_16()
    part = slice(8 * rank, 8 * rank + 8)
    mine = Batch(whole.images[part], whole.boxes_xyxy[part], whole.classes[part], whole.names[part])
    torch.save(gradients(mine, Ranks(rank, 2, rank, 2)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_gradients_of_two_processes_of_eight_equal_those_of_one_of_sixteen(tmp_path: Path) -> None:
    expected = gradients(batch_of_16(), Ranks())
    multiprocessing.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        for one, other in zip(torch.load(tmp_path / f"{rank}.pt", weights_only=True), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("world", [2, 4])
def test_the_shares_of_all_processes_are_what_one_would_see(world: int) -> None:
    alone = list(BatchSampler(11, 8, 5, 3, 9))
    shares = [list(BatchSampler(11, 8, 5, 3, 9, Shard(rank, world))) for rank in range(world)]
    assert [functools.reduce(operator.iadd, parts, []) for parts in zip(*shares, strict=True)] == alone


def test_machines_that_hold_parts_see_only_these_and_together_all() -> None:
    """Two machines of two processes, ten images, eight a step: after five steps each was seen four times."""
    seen: list[list[int]] = [[], []]
    for rank in range(4):
        ranks = Ranks(rank, 4, rank % 2, 2)
        for step in BatchSampler(10, 8, seed=5, first_step=0, last_step=5, shard=ranks.shard(f"{rank // 2 + 1}/2")):
            assert len(step) == 2
            seen[rank // 2] += [image for _, image in step]
    assert [sorted(part) for part in seen] == [sorted([*range(first, 10, 2)] * 4) for first in (0, 1)]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("3/2", "such as 2/4"),
        ("0/2", "such as 2/4"),
        ("x", "such as 2/4"),
        ("1/2/2", "such as"),
        ("1/4", "this run has 2"),
    ],
)
def test_parts_that_cannot_be_are_refused(part: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Ranks(0, 4, 0, 2).shard(part)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images: dict[str, Any] = {f"p{i}": [("cell" if i % 2 else "dot", (2 + i, 3, 20 + i, 22))] for i in range(8)}
    names = list(images)
    return voc(tmp_path_factory.mktemp("set") / "voc", images, {"train": names, "val": names[:3]})


def torchrun(
    data: Path,
    out: Path,
    *more: str,
    iterations: int = 6,
    where: Sequence[str] = ("--standalone", "--nproc-per-node", "2"),
) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "torch.distributed.run", *where, "--no-python"]
    entry = "from singleshot.cli.main import main; main()"
    settings = f"--input-size 64x64 --init none --iterations {iterations} --batch-size 4 --checkpoint-every 2"
    fixed = "--workers 0 --precision fp32 --boxes keep --threads 1 --device cpu --set normalise=global"
    train = [sys.executable, "-c", entry, "train", str(data), "--out", str(out), *settings.split(), *fixed.split()]
    return subprocess.Popen([*program, *train, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def newest(out: Path) -> int:
    return max((int(path.name[5:]) for path in out.glob("checkpoints/step-*")), default=0)


def until_newer(out: Path, step: int, process: subprocess.Popen[str], *, may_end: bool = False) -> None:
    """Wait for a checkpoint after this step while the process lives."""
    deadline = time.monotonic() + 200
    while newest(out) <= step and not (may_end and process.poll() is not None):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate()[0])
        time.sleep(0.05)


def assert_knows_all(model: Path, data: Path) -> None:
    """The model remembers the eight training images, whichever process saw them, and the three validation images."""
    learnt = read_folder(model).learnt()
    assert learnt is not None
    paths = [next(data.rglob(f"JPEGImages/p{index}.*")) for index in range(8)]
    assert learnt.trained.content.tolist() == sorted(hash_images(paths).content.tolist())
    assert learnt.validated.content.tolist() == sorted(hash_images(paths[:3]).content.tolist())


def stopped_after(told: str) -> bool:
    return re.search(r"stopped after step \d+|stopped by SIGTERM after step \d+|was lost", told) is not None


def test_a_run_of_two_processes_leaves_one_model(data: Path, tmp_path: Path) -> None:
    whole = torchrun(data, tmp_path / "whole")
    told, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, told
    assert told.count("training on 8 images") == 1
    assert (tmp_path / "whole/report.html").is_file()
    assert_knows_all(tmp_path / "whole/last", data)


def test_machines_that_lack_each_others_images_train_together(data: Path, tmp_path: Path) -> None:
    """Two torchruns that meet, as two machines would; each has only every other image (and the first to validate)."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        meeting = f"localhost:{probe.getsockname()[1]}"
    machines = []
    for number in (0, 1):
        held = shutil.copytree(data, tmp_path / f"disk{number}")
        for index in range(1 - number, 8, 2):
            if number or index not in range(3):
                next(held.rglob(f"JPEGImages/p{index}.*")).unlink()
        where = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting]
        out = tmp_path / f"out{number}"
        machines.append(torchrun(held, out, "--part", f"{number + 1}/2", where=where))
    for machine in machines:
        told, _ = machine.communicate(timeout=300)
        assert machine.returncode == 0, told
    (last,) = tmp_path.glob("out*/last")
    assert_knows_all(last, data)


def test_a_part_of_a_set_is_known_by_its_annotations_alone(tmp_path: Path) -> None:
    rows = [f"{name}.png,1,1,9,9,cell" for name in "ab"]
    (tmp_path / "set.csv").write_text("\n".join(["file,x1,y1,x2,y2,label", *rows]) + "\n")
    with pytest.raises(RequestError, match="csv"):
        open_data(tmp_path / "set.csv", partial=True)


@linux
def test_a_killed_process_ends_all_and_the_next_start_goes_on(data: Path, tmp_path: Path) -> None:
    """SINGLESHOT_RANK_KILLS sets how often (docs/results.md: 20)."""
    out, generator = tmp_path / "cut", random.Random(0)
    for life in range(KILLS + 1):
        begun = newest(out)
        process = torchrun(data, out, *(["--resume"] if begun else []), iterations=100_000)
        until_newer(out, begun, process)
        if life == KILLS:
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=100)
        else:
            time.sleep(generator.uniform(0, 0.5))
            os.kill(generator.choice(children_of(process.pid)), signal.SIGKILL)
            started = time.monotonic()
            told, _ = process.communicate(timeout=100)
            assert time.monotonic() - started < 60
        assert process.returncode != 0
        assert stopped_after(told), told
        assert not begun or f"going on after step {begun} of" in told


@linux
@pytest.mark.skipif("SINGLESHOT_RANK_KILLS" not in os.environ, reason="takes a minute and a half of waiting")
@pytest.mark.parametrize("hanging", [0, 1])
def test_a_hanging_process_ends_all(data: Path, tmp_path: Path, hanging: int) -> None:
    out = tmp_path / "cut"
    process = torchrun(data, out, iterations=100_000)
    until_newer(out, 0, process)
    victim, other = sorted(children_of(process.pid), reverse=hanging == 1)
    os.kill(victim, signal.SIGSTOP)
    started = time.monotonic()
    while Path(f"/proc/{other}").exists() and time.monotonic() - started < 100:
        time.sleep(0.1)
    taken = time.monotonic() - started
    os.kill(victim, signal.SIGCONT)  # torchrun waits for it for half a minute more before it kills it
    told, _ = process.communicate(timeout=100)
    assert taken < 60, told
    assert stopped_after(told), told


@linux
def test_two_processes_stopped_again_and_again_end_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    """SINGLESHOT_SIGNALS sets how often (docs/results.md: 50)."""
    whole = torchrun(data, tmp_path / "whole", iterations=STEPS)
    told, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, told
    out, generator, stops, finished = tmp_path / "cut", random.Random(2), 0, False
    while not finished:
        begun = newest(out)
        process = torchrun(data, out, *(["--resume"] if begun else []), iterations=STEPS)
        if stops < SIGNALS:
            until_newer(out, begun, process, may_end=True)
            time.sleep(generator.uniform(0, 0.2))
            process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=300)
        finished = process.returncode == 0
        stops += "stopped by SIGTERM" in told
        assert finished or "stopped by SIGTERM" in told, told
        assert finished or (out / "last").is_dir()
    assert stops
    expected, found = (load_file(tmp_path / name / "last/model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def children_of(parent: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
