"""What the sources of a command name: images and videos."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from singleshot.data.images import IMAGE_SUFFIXES
from singleshot.errors import RequestError
from singleshot.image_formats import UNREAD_SUFFIXES
from singleshot.video.capture import STREAM_PROTOCOLS, without_password
from singleshot.video.container import PLAYLIST_SUFFIXES, VIDEO_SUFFIXES, is_video
from singleshot.video.sequence import is_pattern

VideoSource = str | Path | int
"""As `video.frames.open_video` takes it: an address, a file, folder or pattern, or the number of a camera."""


@dataclass
class Sources:
    """What to read, each once, in order.

    Attributes:
        images: image files.
        videos: videos, cameras, streams and sequences of images.
    """

    images: list[Path] = field(default_factory=list)
    videos: list[VideoSource] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """The images and the files of videos, which no output may replace."""
        return [*self.images, *(video for video in self.videos if isinstance(video, Path))]


def find_sources(
    sources: Sequence[str | Path],
    *,
    stream: bool = False,
    sequences: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> Sources:
    """The images and videos that the sources name: files, folders (recursively), glob patterns, cameras, streams.

    A file given by name is a video where its first bytes or its ending say so, else an image; folders give what ends
    like an image or a video. A number that is no file is a camera.

    Args:
        sources: as the user gave them.
        stream: whether RTSP addresses may be opened.
        sequences: whether folders and patterns such as `frame_%05d.jpg` are videos, an image a frame.
        say: takes a line on the files of a folder that are of kinds that are not read.

    Raises:
        RequestError: nothing was named, or a source names nothing.
    """
    if not sources:
        raise RequestError("which images? Give files, folders or patterns: ssd detect photo.jpg")
    images: dict[Path, None] = {}
    videos: dict[VideoSource, None] = {}
    for source in map(str, sources):
        path = Path(source)
        if "://" in source:
            videos[_address(source, allowed=stream)] = None
        elif path.is_dir() and sequences:
            videos[path] = None
        elif path.is_dir():
            inside = _inside(path, say)
            images.update(dict.fromkeys(inside.images))
            videos.update(dict.fromkeys(inside.videos))
        elif path.is_file():
            (videos if _is_video(path) else images)[path] = None
        elif source.isdecimal():
            videos[int(source)] = None
        elif is_pattern(path):
            if not sequences:
                raise RequestError(f"{source}: a sequence of images needs its frames a second: --fps 25")
            videos[path] = None
        else:
            matches = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise RequestError(f"{source} does not exist")
            for match in matches:
                (videos if _is_video(match) else images)[match] = None
    return Sources(list(images), list(videos))


def _address(source: str, *, allowed: bool) -> str:
    if source.startswith(STREAM_PROTOCOLS):
        if not allowed:
            raise RequestError(
                f"{without_password(source)}: no address is opened unless it is asked for: --stream opens RTSP"
            )
        return source
    raise RequestError(f"{source}: addresses are not fetched; give a file")


def _is_video(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix not in IMAGE_SUFFIXES and (suffix in VIDEO_SUFFIXES | PLAYLIST_SUFFIXES or is_video(file))


def _inside(folder: Path, say: Callable[[str], None]) -> Sources:
    """The images and videos in a folder, which has some."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    videos: list[VideoSource] = [
        file
        for file in files
        if file.suffix.lower() in VIDEO_SUFFIXES and (file.suffix.lower() != ".ts" or is_video(file))  # or TypeScript
    ]
    unread = _unread(files)
    if not images and not videos:
        raise RequestError(f"{folder}: {unread}" if unread else f"{folder} has no images")
    if unread:
        say(f"{folder}: {unread}; left out")
    return Sources(images, videos)


def _unread(files: Sequence[Path]) -> str:
    """How many files are images or videos of kinds that are not read, and which kinds; empty for none."""
    unread = (UNREAD_SUFFIXES | PLAYLIST_SUFFIXES) - IMAGE_SUFFIXES - VIDEO_SUFFIXES
    suffixes = [suffix for file in files if (suffix := file.suffix.lower()) in unread]
    kinds = ", ".join(dict.fromkeys(suffixes))
    return (
        f"{len(suffixes)} file{'s' if len(suffixes) > 1 else ''}, none of a kind that is read: {kinds}" if kinds else ""
    )
