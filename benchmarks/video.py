"""How fast a video is searched and copied with boxes drawn, where the time goes, and the memory of a long one.

python benchmarks/video.py VIDEO [--rounds 3] [--long 20000] [--only whole|parts|long]

The whole, three ways in turn: detections alone, with JSON, with JSON and a WebM. Then the parts, each alone in one
thread. Then the frames of VIDEO again and again, up to `--long` frames, with JSON and a WebM of one frame in 20: the
memory of the process after each fifth of it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path

import numpy as np

from singleshot.commands.detect import DetectOptions, detect_files
from singleshot.commands.detections_output import DetectionsOutput
from singleshot.runtime.detector import Detector
from singleshot.video.frames import Frame, open_video
from singleshot.video.webm import WebmWriter


def whole(video: Path, detector: Detector, folder: Path, rounds: int) -> None:
    """Print frames a second of the whole, three ways in turn."""
    json, out = folder / "a.json", folder / "out"
    ways = {
        "detections": DetectOptions(),
        "with JSON": DetectOptions(json=json),
        "with JSON and WebM": DetectOptions(json=json, out=out),
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, options in ways.items():
            start, cpu = time.perf_counter(), time.process_time()
            (result,) = detect_files([video], options, detector=detector).videos
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            figures[name].append((result.frames / wall, 1000 * cpu / result.frames))
    for name, values in figures.items():
        speeds = sorted(speed for speed, _ in values)
        cpu = statistics.median(cpu for _, cpu in values)
        times = statistics.median(speeds) / result.fps
        print(f"{name:20} {statistics.median(speeds):5.0f} frames a second ({speeds[0]:.0f} to {speeds[-1]:.0f}), "
              f"{times:.1f} times real time, {cpu:.1f} ms of processor time a frame")  # fmt: skip


def parts(video: Path, detector: Detector, folder: Path) -> None:
    """Print milliseconds of processor time a frame of each part."""
    with open_video(video) as reader:
        start = time.process_time()
        for _ in reader:
            pass
        print(f"decode               {1000 * (time.process_time() - start) / reader.decoded:.2f} ms a frame")
    with open_video(video) as reader:
        frames = list(islice(reader, 200))
    detections = [detector(frame.pixels) for frame in frames]
    infer = next(iter(detector.backend.workers()))
    steps: dict[str, Callable[[Frame], object]] = {
        "infer": lambda frame: infer(frame.pixels, score_threshold=0.5),
        "draw": lambda frame: detections[frame.index].draw(frame.pixels),
    }
    for name, step in steps.items():
        start = time.thread_time()
        for frame in frames:
            step(frame)
        print(f"{name:20} {1000 * (time.thread_time() - start) / len(frames):.2f} ms a frame")
    start = time.process_time()
    with WebmWriter(folder / "part.webm", reader.size_wh) as writer:
        for frame in frames:
            writer.write(frame.seconds, frame.pixels)
    print(f"encode               {1000 * (time.process_time() - start) / len(frames):.2f} ms a frame")


def again_and_again(video: Path, most: int) -> Iterator[Frame]:
    """The frames of a video, opened again whenever it ends, as one long video."""
    numbers = count()
    while True:
        with open_video(video) as reader:
            for frame in reader:
                index = next(numbers)
                if index >= most:
                    return
                yield Frame(index, index / reader.fps, frame.pixels)


def long(video: Path, detector: Detector, folder: Path, frames: int) -> None:
    """Print the memory of the process after each fifth of a long video."""
    with open_video(video) as reader:
        size_wh = reader.size_wh
    with ExitStack() as stack:
        output = stack.enter_context(DetectionsOutput("model", json=folder / "long.json", csv=None))
        writer = stack.enter_context(WebmWriter(folder / "long.webm", size_wh))
        output.begin_video({"file": "long", "width": size_wh[0], "height": size_wh[1], "fps": 25})
        for frame, detections in detector.stream_frames(again_and_again(video, frames)):
            output.frame(frame.index, frame.seconds, detections)
            if frame.index % 20 == 0:
                writer.write(frame.seconds, np.ascontiguousarray(frame.pixels))
            if (frame.index + 1) % (frames // 5) == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                memory = pages * resource.getpagesize() / 1e6
                print(f"after {frame.index + 1:7,} frames  {memory:.0f} MB")
        output.end_video()


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=20_000)
    parser.add_argument("--only", choices=("whole", "parts", "long"))
    arguments = parser.parse_args()
    detector = Detector.load(score=0.5)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only in {None, "whole"}:
            whole(arguments.video, detector, Path(folder), arguments.rounds)
        if arguments.only in {None, "parts"}:
            parts(arguments.video, detector, Path(folder))
        if arguments.only in {None, "long"}:
            long(arguments.video, detector, Path(folder), arguments.long)


if __name__ == "__main__":
    main()
