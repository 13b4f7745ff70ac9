"""The detector as people use it: load it once, call it with images."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from singleshot.decode import decode_image, pixel_limit
from singleshot.errors import ImageError, RequestError
from singleshot.preprocess import has_contrast
from singleshot.runtime.backends import OwnBackbone, RunOptions, engine_inside, load_backend
from singleshot.runtime.engine import Backend
from singleshot.runtime.find_model import find_model
from singleshot.runtime.image_source import SINGLE, ImageSource, as_array
from singleshot.runtime.streaming import Decode, read_ahead, stream
from singleshot.runtime.tiling import TiledBackend
from singleshot.ssd.detection import RawDetections, to_detections
from singleshot.tiles import OVERLAP, tiling_of
from singleshot.types import Annotations, Detections
from singleshot.video.frames import Frame
from singleshot.weights.folder import ModelFolder

Item = TypeVar("Item")
FRAMES_AHEAD = 4
"""Frames of a video that are decoded and wait for a worker."""
AT_ONCE = 8
"""Images of a list that are decoded and searched together: a list or a generator may be of any length."""


class Detector:
    """A trained model, ready to detect.

    Attributes:
        backend: the engine that runs it.
        spec: what the model is.
        name: what the user called it.
        note: a line on how it runs, where that may surprise; else empty.
        max_pixels: the largest image that it decodes, width x height.
        folder: that it was loaded from; None for one that was made of an engine.

    Examples:
        >>> detector = Detector.load("runs/blood/best")  # doctest: +SKIP
        >>> detector("slide.jpg").names  # doctest: +SKIP
        ['RBC', 'RBC', 'WBC']
    """

    def __init__(self, backend: Backend, *, name: str, score: float = 0.0) -> None:
        if not 0 <= score <= 1:
            raise RequestError(f"a score lies between 0 and 1, got {score}")
        self.backend = backend
        self.spec = backend.spec
        self.name = name
        self.note = ""
        self.max_pixels = pixel_limit()
        self.folder: ModelFolder | None = None
        self._last: np.ndarray | None = None  # kept for a notebook, which shows the detections of a cell after it
        self._score_threshold = self.threshold_below(score)

    @classmethod
    def load(
        cls,
        model: str | Path | ModelFolder | None = None,
        *,
        device: str = "auto",
        score: float = 0.0,
        precision: str | None = None,
        compiled: bool = False,
        backbone: OwnBackbone | None = None,
        max_megapixels: float | None = None,
        tile: int | None = None,
        overlap: float = OVERLAP,
    ) -> Detector:
        """A detector from a model folder, an exported model, or the name of a shipped model (None: the default one).

        Args:
            model: which one.
            device: `auto`, `cpu`, or a name of torch's.
            score: leave out detections below this, 0 to 1, but keep those that score exactly this. The result equals
                that of `.above(score)` and takes some milliseconds less: thousands of unlikely boxes need no NMS.
            precision: of torch, `fp32` or `bf16`; None: that of the export, else fp32.
            compiled: with torch, compile the network at the first call (with CUDA graphs on CUDA), which takes a
                minute; worth it for many images.
            backbone: the code of a model whose backbone is your own: the function that makes it, or its name as
                `mypackage.module:function`. Exports do without.
            max_megapixels: the largest image file that is decoded; None: 50, or the environment's
                SINGLESHOT_MAX_MEGAPIXELS.
            tile: search images that are larger in tiles of this side in pixels, too, for their small objects.
            overlap: share of a tile that its neighbour has, too.

        Raises:
            RequestError: there is no such model, or the score, the limit or the tiles are none.
            ModelError, HashError: the folder is not whole; the message says why.
        """
        folder = find_model(model)
        options = RunOptions(device, precision, compiled, backbone)
        backend = load_backend(folder, options)
        tiling = tiling_of(tile, overlap)
        if tiling is not None:
            backend = TiledBackend(backend, tiling)
        detector = cls(backend, name=str(model) if isinstance(model, str | Path) else folder.path.name, score=score)
        detector.max_pixels = pixel_limit(max_megapixels)
        detector.folder = folder
        detector.note = how_it_runs(detector.name, folder, options)
        return detector

    def threshold_below(self, score: float) -> float:
        """The threshold for backends, which keep what scores more, by which all that score at least this much stay."""
        just_below = float(np.nextafter(np.float32(score), np.float32(-1)))
        return max(self.spec.postprocess.score_threshold, just_below)

    @overload
    def __call__(self, images: ImageSource) -> Detections: ...
    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...] | Iterator[Any]) -> list[Detections]: ...
    def __call__(
        self, images: ImageSource | list[Any] | tuple[Any, ...] | Iterator[Any]
    ) -> Detections | list[Detections]:
        """Detect in one image, or in the images of a list, a generator or any other iterable.

        Args:
            images: an image is a path, the bytes of a file, an open file, a PIL image, an array or a torch tensor; what
                shapes and types are taken, and how they are converted, stands in `runtime/image_source.py`.

        Raises:
            ImageError: an image cannot be used; the message names it, and the conversion that helps.
        """
        if (
            isinstance(images, SINGLE)
            or images is None
            or isinstance(images, Mapping)
            or not hasattr(images, "__iter__")
        ):
            return self._detect([images])[0]  # type: ignore[list-item]  # what is no image is refused there
        remaining, results = iter(images), list[Detections]()
        while part := list(islice(remaining, AT_ONCE)):
            results += self._detect(part, first=len(results))
        return results

    def stream(
        self, paths: Iterable[Path | str], *, batch_size: int = 8
    ) -> Iterator[tuple[Path, np.ndarray, Detections] | ImageError]:
        """Detect in many files, decoding while detecting, a bounded number of images in memory.

        Yields, in order, path, decoded image and detections; or the error of a file that cannot be used.
        """

        def decoded(path: Path) -> np.ndarray | ImageError:
            try:
                return decode_image(path, max_pixels=self.max_pixels)
            except ImageError as error:
                return error

        files = (Path(path) if isinstance(path, str) else path for path in paths)
        yield from self._stream(files, decoded, batch_size=batch_size)

    def stream_frames(self, frames: Iterable[Frame], *, batch_size: int = 8) -> Iterator[tuple[Frame, Detections]]:
        """Detect in the frames of a video, reading while detecting, a bounded number of frames in memory.

        Yields, in order, each frame and the detections in it. The frames are read by a thread of their own.
        """
        ahead = read_ahead(frames, FRAMES_AHEAD)
        try:
            for item in self._stream(ahead, lambda frame: frame.pixels, batch_size=batch_size):
                assert not isinstance(item, ImageError)  # a frame is decoded already
                yield item[0], item[2]
        finally:
            ahead.close()

    def _stream(
        self, items: Iterable[Item], decode: Decode[Item], *, batch_size: int
    ) -> Iterator[tuple[Item, np.ndarray, Detections] | ImageError]:
        """Item, pixels and detections of each item, as `streaming.stream` gives them, in pixels."""
        for result in stream(self.backend, items, decode, batch_size=batch_size, score_threshold=self._score_threshold):
            if isinstance(result, ImageError):
                yield result
            else:
                item, image, raw = result
                yield item, image, self._in_pixels(raw, image)

    def _detect(self, images: Sequence[ImageSource], *, first: int | None = None) -> list[Detections]:
        """Detections of some images; `first` is the place of the first in a list, for messages."""
        arrays = []
        for place, image in enumerate(images):
            try:
                arrays.append(as_array(image, max_pixels=self.max_pixels))
            except ImageError as error:
                if first is None or isinstance(image, str | PathLike):  # the message names a path by itself
                    raise
                raise ImageError(f"image {first + place} of the list, from 0: {error}") from error
        results = self.backend(arrays, score_threshold=self._score_threshold)
        self._last = arrays[-1]
        return [
            replace(self._in_pixels(raw, pixels), image=_shown(image, pixels, self.max_pixels))
            for raw, pixels, image in zip(results, arrays, images, strict=True)
        ]

    def _in_pixels(self, raw: RawDetections, image: np.ndarray) -> Detections:
        return self.in_pixels(raw, size_wh=(image.shape[1], image.shape[0]), contrast=has_contrast(image))

    def in_pixels(self, raw: RawDetections, *, size_wh: tuple[int, int], contrast: bool) -> Detections:
        """Detections in pixels of an image of this size; none in one that shows nothing (`preprocess.has_contrast`)."""
        if not contrast:
            raw = replace(raw, boxes_xyxy=raw.boxes_xyxy[:0], scores=raw.scores[:0], labels=raw.labels[:0])
        return to_detections(raw, width=size_wh[0], height=size_wh[1], class_names=self.spec.class_names)


def how_it_runs(name: str, folder: ModelFolder, options: RunOptions) -> str:
    """A line on how a model of this name runs, where that may surprise; else empty."""
    engine = engine_inside(folder) if options.need_torch else None
    if engine is None:
        return ""
    assert engine.export is not None
    return (
        f"{name} runs in torch ({options.precision or 'fp32'}), as asked for; left to itself it would run on the "
        f"{engine.export.engine} engine inside it ({engine.export.precision})"
    )


def _shown(image: ImageSource, pixels: np.ndarray, max_pixels: int) -> Callable[[], np.ndarray | None]:
    """What gives the image of some detections again, without keeping its pixels in memory."""
    if isinstance(image, str | PathLike):
        return partial(as_array, image, max_pixels=max_pixels)
    return weakref.ref(pixels)


def detect_in_set(
    detector: Detector,
    annotations: Annotations,
    *,
    batch_size: int = 8,
    on_image: Callable[[int], None] = lambda _done: None,
) -> list[Detections]:
    """Detections of every image, in the set's order.

    Args:
        detector: any detector; its classes need not be those of the set.
        annotations: the set.
        batch_size: images a forward.
        on_image: called with the number of images done.

    Raises:
        ImageError: an image of the set cannot be used; evaluation of a part would be another figure.
    """
    paths = (annotations.path(i) for i in range(len(annotations)))
    results: list[Detections] = []
    for item in detector.stream(paths, batch_size=batch_size):
        if isinstance(item, ImageError):
            raise item
        results.append(item[2])
        on_image(len(results))
    return results
