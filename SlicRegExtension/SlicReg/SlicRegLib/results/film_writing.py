"""Pictures to a film file: MP4 by ffmpeg, which the package imageio-ffmpeg brings; GIF and WebP by Pillow."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from ..errors import UserError, show_name, write_error
from ..images.files import atomic
from ..images.segment_defaults import Colour

RATE = {".mp4": 15, ".gif": 10, ".webp": 10}
"""Pictures per second."""
WIDTH = {".mp4": 960, ".gif": 640, ".webp": 640}
ENCODER = "imageio-ffmpeg"
_QUALITY = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
# players take the colours of small films for those of television of another kind unless they are told
_COLOURS = ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_primaries", "bt709"]
_COLOURS += ["-color_trc", "bt709"]
_GIF_BEGINNING = 13 + 3 * 256 + 19  # bytes: sizes, colours, and that it repeats
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


def write_film(path: Path, frames: Iterator[Image.Image], count: int, palette: Image.Image | None = None) -> None:
    """Write the ``count`` frames, which have one size, in the format of the suffix; atomic. Raises WriteError.

    Each is encoded before the next one is asked for. palette: by `make_palette`; only .gif needs it.
    """
    suffix = path.suffix.lower()
    with atomic(path) as part:
        if suffix == ".mp4":
            _write_mp4(path, part, frames)
        elif suffix == ".gif":
            assert palette is not None, "it was made for the film"
            _write_gif(part, frames, palette)
        else:
            reel = _Reel(frames, count)
            reel.save(part, "WEBP", save_all=True, duration=1000 // RATE[suffix], loop=0, quality=60, method=2)
            next(frames, None)  # the last one is encoded, which only now is told


def make_palette(colours: Sequence[Colour], samples: Sequence[Image.Image]) -> Image.Image:
    """An image with the palette for a film in GIF: ``colours``, as they are, greys, and those that come nearest to the
    others of the ``samples``, however few pixels have them."""
    seen = np.concatenate([np.asarray(sample).reshape(-1, 3) for sample in samples])
    _, one_of_each = np.unique((seen // 4) @ (4096, 64, 1), return_index=True)  # kind: else there were too many
    greys = [(grey, grey, grey) for grey in range(0, 256, 4)]
    kept = [channel for colour in [*colours, *greys][:200] for channel in colour]
    others = Image.fromarray(seen[one_of_each][None])
    free = others.quantize(256 - len(kept) // 3, Image.Quantize.MEDIANCUT, kmeans=1).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*kept, *free, *[0] * 768][:768])
    return palette


def _write_gif(path: Path, frames: Iterator[Image.Image], palette: Image.Image) -> None:
    """As films of one picture, of which all but the first lose their beginning, since Pillow keeps all pictures of a
    longer one until it has the last."""
    with open(path, "wb") as file:
        for number, frame in enumerate(frames):
            one = io.BytesIO()
            reduced = frame.quantize(palette=palette, dither=Image.Dither.NONE)
            reduced.save(one, "GIF", duration=1000 // RATE[".gif"], loop=0, optimize=False)
            file.write(one.getvalue()[_GIF_BEGINNING if number else 0 : -1])
        file.write(b";")


class _Reel(Image.Image):
    """The frames as an image of many pictures, which Pillow asks for one by one; of a list it would want all first."""

    def __init__(self, frames: Iterator[Image.Image], count: int):
        super().__init__()
        self.n_frames, self._frames, self._shown = count, frames, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame > self._shown:
            self.__dict__.update(next(self._frames).__dict__)
            self._shown = frame


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
