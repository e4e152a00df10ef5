"""Frames to MP4 bytes and back, exactly by index, through torchcodec (imported when first used)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from envs.episodes.episode import DatasetError
from envs.episodes.files import read_once, suspect

_AT_A_TIME = 32  # frames that are decoded together


@dataclass(frozen=True)
class VideoCodec:
    """How frames are compressed.

    A model trains on images that went through this codec and runs on images that did not, so it is nearly lossless:
    yuv444p keeps the colours of small objects that yuv420p smears (49 dB against 39 dB on 128 px renders, at the same
    size). Short groups of pictures and no B-frames make a random frame cheap. With one encoder thread the same
    frames nearly always give the same bytes: once in ten to a thousand times a block is a few levels different.

    Attributes:
        name: FFmpeg encoder, such as "libx264".
        pixel_format: FFmpeg pixel format.
        quality: Constant rate factor; lower is better and larger.
        keyframe_interval: Frames from one key frame to the next.
    """

    name: str = "libx264"
    pixel_format: str = "yuv444p"
    quality: int = 10
    keyframe_interval: int = 5


@dataclass(frozen=True)
class Footage:
    """What there is to see of an episode, before anything is decoded.

    Attributes:
        frames: How many.
        height: Of an image [pixels].
        width: Of an image [pixels].
        rate: That the header says, which may be wrong [Hz].
    """

    frames: int
    height: int
    width: int
    rate: float


def encode_frames(frames: UInt8[np.ndarray, "T h w 3"], rate: float, codec: VideoCodec | None = None) -> bytes:
    """Returns an MP4 file with the frames in order.

    Args:
        frames: RGB, (T, h, w, 3) uint8.
        rate: Frames a second [Hz].
        codec: Compression; the default is near-lossless H.264.

    Raises:
        ImportError: If torchcodec or FFmpeg's libraries are missing, with what to install.
        DatasetError: If FFmpeg refuses the frames or the codec.
    """
    import torch

    codec = codec or VideoCodec()
    channels_first = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))  # (T, 3, h, w)
    encoder = _torchcodec("encoders").VideoEncoder(channels_first, frame_rate=rate)
    try:
        encoded = encoder.to_tensor(
            format="mp4",
            codec=codec.name,
            pixel_format=codec.pixel_format,
            crf=codec.quality,
            extra_options={"g": codec.keyframe_interval, "bf": 0, "threads": 1},
        )
    except RuntimeError as error:
        reason = _first_line(error)
        raise DatasetError(f"FFmpeg could not encode {frames.shape} frames with {codec}: {reason}") from error
    return encoded.numpy().tobytes()


def decode_frames(path: Path, start: int, frames: int) -> UInt8[np.ndarray, "T h w 3"]:
    """Returns ``frames`` consecutive frames of a video from index ``start``, decoded exactly.

    Args:
        path: Video file.
        start: Index of the first frame.
        frames: How many.

    Raises:
        ImportError: If torchcodec or FFmpeg's libraries are missing, with what to install.
        DatasetError: If the file is missing, not a video, too short or breaks off.
    """
    return next(decode_batches(path, range(start, start + frames), batch=frames))[0]


def decode_batches(
    path: Path, frames: Sequence[int], batch: int = _AT_A_TIME
) -> Iterator[tuple[UInt8[np.ndarray, "n h w 3"], Float[np.ndarray, "n"]]]:
    """Yields chosen frames of a video, decoded exactly, with the times [s] at which the video shows them.

    Args:
        path: Video file.
        frames: Their indices, ascending.
        batch: How many at a time.

    Raises:
        ImportError: If torchcodec or FFmpeg's libraries are missing, with what to install.
        DatasetError: If the file is missing, not a video, too short or breaks off.
    """
    with _reported(path):
        decoder = _open_decoder(path, "exact")
        available = len(decoder)
    if frames[-1] >= available:
        raise DatasetError(
            f"the video {path} has {available} frames, but frames {frames[0]} to {frames[-1]} were asked for. Copy it "
            "again, or leave its recording out."
        )
    yield from _decode(path, decoder, decoder.get_frames_at, [int(frame) for frame in frames], batch)


def decode_times(
    path: Path, times: Sequence[float]
) -> Iterator[tuple[UInt8[np.ndarray, "n h w 3"], Float[np.ndarray, "n"]]]:
    """Yields the frames that a video shows at chosen times [s] after its first one, as `decode_batches` does.

    After the video's end that is the last one.

    Args:
        path: Video file.
        times: Ascending [s].

    Raises:
        ImportError: If torchcodec or FFmpeg's libraries are missing, with what to install.
        DatasetError: If the file is missing, not a video or breaks off.
    """
    with _reported(path):
        decoder = _open_decoder(path, "exact")
        video = decoder.metadata
    last = video.end_stream_seconds - 0.5 / video.average_fps
    wanted = [min(video.begin_stream_seconds + time, last) for time in times]
    yield from _decode(path, decoder, decoder.get_frames_played_at, wanted, _AT_A_TIME)


def _decode(
    path: Path, decoder: Any, get: Callable[[list[Any]], Any], wanted: list[Any], batch: int
) -> Iterator[tuple[UInt8[np.ndarray, "n h w 3"], Float[np.ndarray, "n"]]]:
    """Yields what a decoder gets, some at a time, with the times after the video's first frame [s]."""
    for first in range(0, len(wanted), batch):
        with _reported(path):
            decoded = get(wanted[first : first + batch])
        yield decoded.data.numpy(), decoded.pts_seconds.numpy() - decoder.metadata.begin_stream_seconds


@read_once(256)
def read_header(path: Path) -> Footage:
    """Returns what a video's header says of it; what a header lacks is found by reading through the video.

    Fragmented MP4 and Matroska do not say in the header how many frames there are.

    Raises:
        ImportError: If torchcodec or FFmpeg's libraries are missing, with what to install.
        DatasetError: If the file is missing or not a video.
    """
    with _reported(path):
        metadata = _open_decoder(path, "approximate").metadata
        said = (metadata.num_frames_from_header, metadata.height, metadata.width, metadata.average_fps_from_header)
        if not all(said):
            decoder = _open_decoder(path, "exact")
            said = (len(decoder), decoder.metadata.height, decoder.metadata.width, decoder.metadata.average_fps)
    if not all(said):
        raise DatasetError(f"the video {path} has no frames, size or rate; write it again as MP4")
    return Footage(*said)


@read_once(256)
def count_frames(path: Path) -> int:
    """Returns how many frames a video has, whatever its header says, by reading through it without decoding.

    Raises:
        ImportError: If torchcodec or FFmpeg's libraries are missing, with what to install.
        DatasetError: If the file is missing or not a video.
    """
    with _reported(path):
        return len(_open_decoder(path, "exact"))


def _open_decoder(path: Path, seek_mode: Literal["exact", "approximate"]) -> Any:
    """Returns torchcodec's decoder of a video; exact reads through the file to find every frame."""
    if not path.is_file():
        raise DatasetError(f"the video {path} is missing; copy it again, or leave its recording out")
    decoders = _torchcodec("decoders")
    return decoders.VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turns what torchcodec raises into a DatasetError that names the video."""
    try:
        yield
    except DatasetError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise DatasetError(
            f"the video {path} ({path.stat().st_size} bytes) cannot be decoded, {suspect(path)}: "
            f"{_first_line(error)}. Copy it again, or leave its recording out."
        ) from error


def _torchcodec(module: str) -> ModuleType:
    """Returns ``torchcodec.encoders`` or ``torchcodec.decoders``, or says in one line what is missing."""
    try:
        if module == "encoders":
            from torchcodec import encoders as found
        else:
            from torchcodec import decoders as found
    except (ImportError, OSError, RuntimeError) as error:
        raise ImportError(
            "video needs torchcodec >= 0.13 (0.13.0 for a CPU-only torch: pip install torchcodec==0.13.0) and FFmpeg's "
            f"shared libraries, version 4 to 9 (apt-get install ffmpeg); importing it failed: {_first_line(error)}"
        ) from error
    return found


def _first_line(error: Exception) -> str:
    """Returns the first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
