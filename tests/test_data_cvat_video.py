from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data_fixtures import image
from singleshot.data.cvat import read_cvat
from singleshot.data.recognise import open_data
from singleshot.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def box(frame: object, *, outside: int = 0, left: int = 1) -> str:
    return f'<box frame="{frame}" outside="{outside}" xtl="{left}" ytl="2" xbr="{left + 10}" ybr="22"/>'


TRACKS = (
    f'<track id="0" label="car">{box(0)}{box(1, left=2)}{box(2, outside=1)}</track>'
    f'<track id="1" label="bus">{box(1, left=20)}</track>'
)


def video(root: Path, *frames: str, tracks: str = TRACKS, size: int = 3, start: int = 0) -> Path:
    for name in frames:
        image(root / name)
    (root / "annotations.xml").write_text(
        f"<annotations><meta><task><size>{size}</size><start_frame>{start}</start_frame><labels><label><name>car</name>"
        "</label><label><name>bus</name></label></labels><original_size><width>40</width><height>30</height>"
        f"</original_size></task></meta>{tracks}</annotations>"
    )
    return root


@pytest.mark.parametrize(
    ("names", "remark"),
    [
        ([f"images/frame_{number:06d}.PNG" for number in range(3)], ""),
        ([f"{number}.png" for number in range(3)], ""),
        ([f"clip-{number + 1:03d}.jpg" for number in range(3)], "numbered from 1"),
    ],
)
def test_the_frames_of_the_tracks(tmp_path: Path, names: list[str], remark: str) -> None:
    data = open_data(video(tmp_path, *names))
    assert data.files == tuple(names)
    assert data.starts.tolist() == [0, 1, 3, 3]  # the last frame is background
    assert data.boxes_xyxy[:, 0].tolist() == [1, 2, 20]
    assert [data.class_names[label] for label in data.labels] == ["car", "car", "bus"]
    assert any(text.startswith("2 tracks of a video") for text in data.remarks)
    assert any(remark in text for text in data.remarks)


@pytest.mark.parametrize(
    ("names", "tracks", "message"),
    [
        ([], TRACKS, "no images of its frames"),
        (["1.png", "2.png"], TRACKS, "count from 0"),
        (["a/1.png", "b/1.png"], TRACKS, "same frame"),
        (["0.png"], TRACKS.replace('id="0"', 'task_id="1"').replace(' id="1"', ' task_id="2"'), "2 tasks"),
    ],
)
def test_which_image_is_which_frame_must_be_certain(
    tmp_path: Path, names: list[str], tracks: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_cvat(video(tmp_path, *names, tracks=tracks))
    assert "\n" not in str(caught.value)


def test_a_part_of_a_longer_video_keeps_its_numbers(tmp_path: Path) -> None:
    tracks = f'<track id="0" label="car">{box(7)}</track>'
    data = open_data(video(tmp_path, "frame_000007.png", tracks=tracks, size=1, start=7))
    assert data.files == ("frame_000007.png",)


def test_a_frame_without_its_image_and_one_without_number(tmp_path: Path) -> None:
    tracks = f'<track id="0" label="car">{box(0)}{box(9)}{box("x")}</track>'
    faults = read_cvat(video(tmp_path, "frame_0.png", tracks=tracks)).faults
    assert sorted((fault.kind, fault.file) for fault in faults) == [
        ("malformed", "frame_0.png"),
        ("missing image", "frame_000009.png"),
    ]
