"""CVAT for video: the tracks of an XML, put on the images of the frames, which are found by their numbers.

CVAT counts frames from 0 and calls their images `frame_000000.PNG`; ffmpeg and others count from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

from singleshot.data.image_names import DEEPEST, set_folder
from singleshot.data.images import images_by_stem
from singleshot.data.listing import folders_below
from singleshot.data.tool_labels import LabelFile, LabelledImage, LabelledObject
from singleshot.errors import DataError

_LAST_NUMBER = re.compile(r"(\d{1,9})$")


@dataclass
class VideoTracks:
    """The objects of each frame.

    Attributes:
        objects: by number of the frame.
        count: of the tracks.
        tasks: those that the tracks belong to, where the file is of a project.
        frames: how many frames the video has; 0 where it is not said.
        first: number of the first frame.
        size: width and height of the frames; 0 where it is not said.
    """

    objects: dict[int, list[LabelledObject]] = field(default_factory=dict)
    count: int = 0
    tasks: set[str] = field(default_factory=set)
    frames: int = 0
    first: int = 0
    size: tuple[int, int] = (0, 0)

    def describe(self, meta: Element) -> None:
        """Take what `<meta>` says of the video."""
        width, height, self.frames, self.first = (
            _whole(meta.findtext(f".//{place}"))
            for place in ("original_size/width", "original_size/height", "size", "start_frame")
        )
        self.size = width, height


def add_frames(content: LabelFile, tracks: VideoTracks, file: Path) -> None:
    """Add an image for each frame whose image is there, or that has objects.

    Raises:
        DataError: no frames are there, or which image is which frame cannot be told.
    """
    if len(tracks.tasks) > 1:
        raise DataError(f"{file}: the tracks of {len(tracks.tasks)} tasks: export each task by itself")
    images = _numbered_images(file)
    if not images:
        raise DataError(
            f"{file}: CVAT for video, and no images of its frames: put them beside it, by "
            f"ffmpeg -i VIDEO -start_number 0 frame_%06d.png, or export the task with images"
        )
    shift = _shift(images, tracks, file)
    numbers = sorted({*(number - shift for number in images), *tracks.objects})
    for number in numbers:
        name = images.get(number + shift, f"frame_{number:06d}.png")
        content.images.append(LabelledImage(name, *tracks.size, tracks.objects.get(number, [])))
    content.notes[f"tracks of a video give the objects of {len(numbers)} frames"] += tracks.count
    content.notes["images count as frames from 0, though they are numbered from 1"] += len(images) if shift else 0


def _numbered_images(file: Path) -> dict[int, str]:
    """Images below the set's folder by the number that their stem ends with.

    Raises:
        DataError: two have the same number.
    """
    root = set_folder(file)
    images: dict[int, str] = {}
    for folder in folders_below(root, deepest=DEEPEST):
        for stem, names in images_by_stem(folder).items():
            if number := _LAST_NUMBER.search(stem):
                name = (folder / names[0]).relative_to(root).as_posix()
                other = images.setdefault(int(number[1]), name)
                if other != name or len(names) > 1:
                    raise DataError(f"{file}: {other} and {name if other != name else names[1]} are the same frame")
    return images


def _shift(images: dict[int, str], tracks: VideoTracks, file: Path) -> int:
    """1 where the images count from 1, and the frames from 0. Raises DataError where that cannot be told."""
    if tracks.first or min(images) != 1:
        return 0
    if max(images) == len(images) == tracks.frames:
        return 1
    raise DataError(
        f"{file}: frames count from 0, the images from 1 ({images[1]}), and there are {len(images)} of "
        f"{tracks.frames or 'an unknown number of'} frames: number them from 0, as frame_000000.png"
    )


def _whole(text: str | None) -> int:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
