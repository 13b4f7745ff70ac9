"""Cut, damaged and hostile videos: what is read of them, and that nothing else is opened.

python benchmarks/video_faults.py [VIDEO]

Each kind of file is cut at 50 places; of each it counts how often nothing could be opened (said by an error), how often
frames were read and the cut was said, and how often it was not said. Six playlists name a file and an address that
listens here; it counts what was opened. Then bytes of a video are replaced at 200 places. VIDEO is re-encoded; without
it, drawn frames are.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path
from threading import Thread

import numpy as np

from singleshot.errors import VideoError
from singleshot.video.frames import open_video

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from video_files import moving_square, write_video

KINDS = {
    "MP4, index first": (".mp4", "libx264", {"movflags": "faststart"}),
    "MP4, index last": (".mp4", "libx264", {}),
    "Matroska": (".mkv", "libx264", {}),
    "WebM": (".webm", "libvpx-vp9", {}),
    "AVI": (".avi", "mpeg4", {}),
    "MPEG-TS": (".ts", "libx264", {}),
    "MPEG-PS": (".mpg", "mpeg2video", {}),
    "FLV": (".flv", "flv", {}),
}
CUTS = 50
DAMAGES = 200


def read(file: Path) -> tuple[str, int]:
    """What came of a file: `refused`, `said` or `silent`; and the number of frames."""
    try:
        with open_video(file) as video:
            frames = sum(1 for _ in video)
    except VideoError:
        return "refused", 0
    return ("said" if video.fault else "silent"), frames


def cut_everywhere(folder: Path, frames: list[np.ndarray]) -> bool:
    """Print a line for each kind; whether every cut was said."""
    kept = True
    for name, (suffix, codec, options) in KINDS.items():
        whole = write_video(folder / f"whole{suffix}", frames, fps=25, codec=codec, options=options).read_bytes()
        cut, outcomes, read_frames = folder / f"cut{suffix}", Counter[str](), 0
        for place in np.linspace(len(whole) / 100, len(whole) - 1, CUTS).astype(int):
            cut.write_bytes(whole[:place])
            outcome, count = read(cut)
            outcomes[outcome] += 1
            read_frames += count
            if count > len(frames):
                outcomes["too many frames"] += 1
        kept = kept and not outcomes["silent"] and not outcomes["too many frames"]
        print(f"{name:18} {CUTS} cuts: {dict(outcomes)}, {read_frames / CUTS / len(frames):.0%} of the frames read")
    return kept


def playlists(folder: Path, frames: list[np.ndarray]) -> bool:
    """Print what six playlists opened; whether it was nothing."""
    secret = write_video(folder / "secret.mp4", frames[:10])
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[object] = []
        Thread(target=lambda: connections.append(server.accept()), daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        contents = {
            "a.m3u8": f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
            "b.mp4": f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n",
            "c.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n",
            "d.avi": f"ffconcat version 1.0\nfile '{address}'\n",
            "e.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            "f.mpd": f"<?xml version='1.0'?><MPD><BaseURL>{address}</BaseURL></MPD>",
        }
        outcomes = Counter[str]()
        for name, content in contents.items():
            (folder / name).write_text(content)
            outcomes[read(folder / name)[0]] += 1
        print(f"{len(contents)} playlists: {dict(outcomes)}, {len(connections)} connections")
        return outcomes["refused"] == len(contents) and not connections


def damage(folder: Path, frames: list[np.ndarray]) -> None:
    """Print what 200 damaged files gave."""
    generator, outcomes, read_frames = np.random.default_rng(0), Counter[str](), 0
    for place in range(DAMAGES):
        suffix, codec, options = list(KINDS.values())[place % len(KINDS)]
        file = write_video(folder / f"damaged{suffix}", frames, fps=25, codec=codec, options=options)
        data = bytearray(file.read_bytes())
        start = int(generator.integers(len(data)))
        garbage = generator.bytes(int(generator.integers(1, 2000)))[: len(data) - start]
        data[start : start + len(garbage)] = garbage
        file.write_bytes(data)
        outcome, count = read(file)
        outcomes[outcome] += 1
        read_frames += count
    print(f"{DAMAGES} damaged files: {dict(outcomes)}, {read_frames / DAMAGES / len(frames):.0%} of the frames read")


def main() -> int:
    """Run all three; 1 where a cut was not said or a playlist opened something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path)
    arguments = parser.parse_args()
    if arguments.video is None:
        frames = moving_square(100, width=160, height=120)
    else:
        with open_video(arguments.video) as video:
            frames = [frame.pixels[::3, ::3][:144, :256] for frame in video][:100]
    with tempfile.TemporaryDirectory() as folder:
        kept = [cut_everywhere(Path(folder), frames), playlists(Path(folder), frames)]
        damage(Path(folder), frames)
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
