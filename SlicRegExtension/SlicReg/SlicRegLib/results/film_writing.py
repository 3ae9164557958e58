"""Pictures to a film file: MP4 by ffmpeg, which the package imageio-ffmpeg brings; GIF and WebP by Pillow."""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image, features

from ..errors import UserError, show_name, write_error
from ..images.files import atomic

RATE = {".mp4": 15, ".gif": 10, ".webp": 10}
"""Pictures per second."""
WIDTH = {".mp4": 960, ".gif": 640, ".webp": 640}
ENCODER = "imageio-ffmpeg"
_QUALITY = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
# players take the colours of small films for those of television of another kind unless they are told
_COLOURS = ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_primaries", "bt709"]
_COLOURS += ["-color_trc", "bt709"]
_HIDDEN: dict[str, Any] = {"creationflags": 0x08000000} if os.name == "nt" else {}  # no console window


def check_encoder(suffix: str) -> None:
    """Raise UserError where nothing that is installed writes this kind of film."""
    if suffix == ".mp4":
        find_ffmpeg()
    elif suffix == ".webp" and not features.check("webp"):
        raise UserError("This Pillow cannot write WebP; install a current Pillow, or choose .gif or .mp4.")


def find_ffmpeg() -> str:
    """The program. Raises UserError where it is not installed."""
    cure = f"install it with `pip install {ENCODER}`, or choose .gif or .webp"
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError(f"Films in .mp4 need the Python package {ENCODER}, which is not installed; {cure}.")
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UserError(f"The Python package {ENCODER} finds no program ffmpeg; {cure}.") from error


def write_film(path: Path, frames: Iterator[Image.Image]) -> None:
    """Write the frames, which have one size, in the format of the suffix; atomic. Raises WriteError."""
    suffix = path.suffix.lower()
    with atomic(path) as part:
        if suffix == ".mp4":
            _write_mp4(path, part, frames)
        elif suffix == ".gif":
            reduced = (frame.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for frame in frames)
            _save(part, "GIF", reduced, RATE[suffix], optimize=False)
        else:
            _save(part, "WEBP", frames, RATE[suffix], quality=60, method=2)


def _save(path: Path, kind: str, frames: Iterator[Image.Image], rate: int, **options: Any) -> None:
    first = next(frames)
    first.save(path, kind, save_all=True, append_images=frames, duration=1000 // rate, loop=0, **options)


def _write_mp4(path: Path, part: Path, frames: Iterator[Image.Image]) -> None:
    """H.264 in the form that every player takes. ffmpeg's last words tell why where it fails."""
    first = next(frames)
    width, height = first.size
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(RATE[".mp4"]), "-i", "-"]
    words = [
        find_ffmpeg(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-y",
        *raw,
        *_COLOURS,
        *_QUALITY,
        "-f",
        "mp4",
        str(part),
    ]
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=errors, stderr=errors, **_HIDDEN)
        except OSError as error:
            raise UserError(
                f"The program ffmpeg of {ENCODER} cannot be started ({error.strerror or error}); install {ENCODER} "
                "again, or choose .gif or .webp."
            ) from error
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it has ended; the reason follows
                for frame in chain([first], frames):
                    process.stdin.write(frame.tobytes())
            with suppress(BrokenPipeError):
                process.stdin.close()
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            errors.seek(0)
            raise _explain(path, errors.read().decode("utf-8", "replace"))


def _explain(path: Path, text: str) -> UserError:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EIO):
        if os.strerror(number) in text:
            return write_error(path, OSError(number, os.strerror(number)))
    last = (text.strip().splitlines() or ["it gave no reason"])[-1]
    return UserError(f"ffmpeg could not write {show_name(path)} ({show_name(last)[:200]}); choose .gif or .webp.")
