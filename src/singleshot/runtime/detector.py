"""The detector as people use it: load once, call with pictures."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
import PIL.Image

from singleshot.errors import PictureError, RequestError, UnknownNameError
from singleshot.postprocess import to_detections
from singleshot.preprocess import decode_picture, image_pixels
from singleshot.runtime.shipped import shipped_models
from singleshot.spec import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from singleshot.postprocess import Found
    from singleshot.spec import ModelSpec
    from singleshot.types import Detections

    Picture = str | Path | PIL.Image.Image | np.ndarray

DECODERS = 2


class Backend(Protocol):
    """An engine that runs one network: decoded RGB pictures in, boxes as fractions out."""

    spec: ModelSpec

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Found]:
        """What the network finds in each picture."""


class Detector:
    """A trained model, ready to detect.

    >>> detector = Detector.load("runs/blood/best")  # doctest: +SKIP
    >>> detector("slide.jpg").names  # doctest: +SKIP
    ['RBC', 'RBC', 'WBC']
    """

    def __init__(self, backend: Backend, *, name: str) -> None:
        self.backend = backend
        self.spec = backend.spec
        self.name = name

    @classmethod
    def load(cls, model: str | Path | None = None, *, device: str = "auto") -> Detector:
        """A detector from a model folder, or from the name of a shipped model (None: the default one).

        Raises:
            RequestError: there is no such model.
            ModelError, HashError: the folder is not whole; the message says why.
        """
        folder = find_model(model)
        try:
            from singleshot.runtime.torch_backend import TorchBackend, choose_device
            from singleshot.weights.build import load_network
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise RequestError(
                f"{folder} needs torch, which is not installed: pip install 'singleshot[train]'"
            ) from error
        return cls(TorchBackend(load_network(folder), choose_device(device)), name=str(model or folder.name))

    @overload
    def __call__(self, pictures: Picture) -> Detections: ...
    @overload
    def __call__(self, pictures: list[Picture] | tuple[Picture, ...]) -> list[Detections]: ...
    def __call__(self, pictures: Picture | list[Picture] | tuple[Picture, ...]) -> Detections | list[Detections]:
        """Detect in one picture (a path, a PIL image or a numpy RGB uint8 array) or in a list of them.

        Raises:
            PictureError: a picture cannot be used; the message names it.
        """
        if isinstance(pictures, list | tuple):
            return self._detect([as_array(picture) for picture in pictures])
        return self._detect([as_array(pictures)])[0]

    def stream(
        self, paths: Iterable[Path], *, batch_size: int = 8
    ) -> Iterator[tuple[Path, np.ndarray, Detections] | PictureError]:
        """Detect in many files, decoding ahead in threads, a bounded number of pictures in memory.

        Yields, in order, path, decoded picture and detections; or the error of a file that cannot be used.
        """
        with ThreadPoolExecutor(DECODERS) as pool:
            waiting: deque[tuple[Path, object]] = deque()
            remaining = iter(paths)

            def refill() -> None:
                while len(waiting) < 2 * batch_size and (path := next(remaining, None)) is not None:
                    waiting.append((path, pool.submit(decode_picture, path)))

            refill()
            while waiting:
                batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                refill()
                yield from self._detect_decoded(batch)

    def _detect_decoded(
        self, batch: list[tuple[Path, object]]
    ) -> Iterator[tuple[Path, np.ndarray, Detections] | PictureError]:
        decoded: list[tuple[Path, np.ndarray] | PictureError] = []
        for path, future in batch:
            try:
                decoded.append((path, future.result()))  # type: ignore[attr-defined]
            except PictureError as error:
                decoded.append(error)
        found = iter(self._detect([item[1] for item in decoded if not isinstance(item, PictureError)]))
        for item in decoded:
            yield item if isinstance(item, PictureError) else (*item, next(found))

    def _detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        if not pictures:
            return []
        found = self.backend(pictures)
        return [
            to_detections(one, width=picture.shape[1], height=picture.shape[0], class_names=self.spec.class_names)
            for one, picture in zip(found, pictures, strict=True)
        ]


def as_array(picture: Picture) -> np.ndarray:
    """RGB uint8 pixels (H, W, 3) of whatever a user hands over.

    Raises:
        PictureError: an array of another shape or type, or a file that cannot be decoded.
    """
    if isinstance(picture, str | Path):
        return decode_picture(Path(picture))
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
            raise PictureError(f"a picture must be RGB uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        return picture
    if not isinstance(picture, PIL.Image.Image):
        raise PictureError(f"a picture is a path, a PIL image or an array, got {type(picture).__name__}")
    return image_pixels(picture)


def find_model(model: str | Path | None) -> Path:
    """The folder of a model given by path or shipped name; None is the default model.

    Raises:
        RequestError: an architecture without weights, or no such folder.
        UnknownNameError: no such name; the nearest are offered.
    """
    shipped = shipped_models()
    if model is None:
        if not shipped:
            raise RequestError("no model is shipped with this installation; give one with --model FOLDER")
        return next(iter(shipped.values()))
    path = Path(model)
    if path.is_dir():
        return path
    if path.exists():
        raise RequestError(f"{model} is a file; a model is a folder with config.json and model.safetensors")
    if str(model) in shipped:
        return shipped[str(model)]
    if str(model) in VARIANTS:
        raise RequestError(
            f"{model} is an architecture without weights here; train it first: ssd train DATA --model {model}"
        )
    if path.parent != Path():
        raise RequestError(f"there is no model folder {model}")
    raise UnknownNameError("model", str(model), [*shipped, *VARIANTS])
