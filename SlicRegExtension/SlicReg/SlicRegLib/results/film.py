"""`slicreg film`: a result as a film."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from PIL import Image

from ..images.files import check_output
from ..progress import Progress, silent
from ..stages import READING, SLICES, SURFACES, TURNING
from .film_page import Page
from .film_result import FilmResult, read_result
from .film_slices import draw_slices, make_rows
from .film_surfaces import is_vtk_here
from .film_turning import draw_turning, make_scene
from .film_writing import RATE, WIDTH, check_encoder, make_palette, write_film
from .options import FilmRequest

SLICES_SHARE = 0.6
"""Of the film's length; the turning view has the rest."""
SAMPLES = 6
"""Slices whose colours a film of few colours is made of, with a picture of the turning view."""
NO_ORGANS = "The result has no segmentation, so the film shows none."
EMPTY = "The result's segmentation is empty, so the film shows none."
NO_VTK = "VTK is not installed, so the film shows only the slices; `pip install vtk` adds the turning view."
VTK_FAILS = "VTK cannot draw here ({reason}), so the film shows only the slices."


def make_film(request: FilmRequest, progress: Progress = silent) -> str:
    """Write ``request.out``; returns what to tell. Raises UserError, before any work where that is possible."""
    suffix = request.out.suffix.lower()
    check_encoder(suffix)
    check_output(request.out, inputs=[request.target, request.label_names], make_parents=False)
    progress(READING, 0.0, "")
    film = Film(request, read_result(request), progress)
    palette = make_palette(film.page.colours, film.sample()) if suffix == ".gif" else None
    write_film(request.out, film.draw(), film.count, palette)
    width, height = film.page.size
    first = f"{request.out} written: {film.drawn / RATE[suffix]:.1f} s, {film.drawn} pictures of {width} x {height}."
    return "\n".join([first, *film.notes])


class Film:
    """The ``count`` frames of a result's film. page: what they have in common. drawn: how many there are by now. notes:
    sentences on what it lacks."""

    def __init__(self, request: FilmRequest, result: FilmResult, progress: Progress = silent):
        suffix = request.out.suffix.lower()
        self.page = Page(request.width or WIDTH[suffix], result.organs, result.verdict)
        self.drawn, self.count = 0, max(2, round(request.seconds * RATE[suffix]))
        self.notes = [] if result.organs else [EMPTY if result.empty else NO_ORGANS]
        self._request, self._result, self._progress = request, result, progress
        self._rows = make_rows(result, self.page, lambda share: progress(READING, 0.3 + 0.7 * share, ""))
        self._turning = self._begin_turning() if request.surface != "none" else []

    def draw(self) -> Iterator[Image.Image]:
        count = round(SLICES_SHARE * self.count) if self._turning else self.count
        yield from self._count_frames(self._draw_slices(count), SLICES, count)
        if self._turning:
            yield from self._count_frames(chain(*self._turning), TURNING, self.count - count)

    def sample(self) -> list[Image.Image]:
        """Pictures with all colours of the film, or nearly all."""
        return [*self._draw_slices(SAMPLES), *(self._turning[0] if self._turning else ())]

    def _draw_slices(self, count: int) -> Iterator[Image.Image]:
        title = f"CT scan {self._result.name}, slice by slice"
        return draw_slices(self._rows, self.page, title, self._result.organs, count)

    def _begin_turning(self) -> list[Iterable[Image.Image]]:
        """The frames of the second part: the first, which is drawn now, so that it is known whether VTK can, and those
        that follow; nothing where it cannot."""
        if not is_vtk_here():
            self.notes.append(NO_VTK)
            return []
        self._progress(SURFACES, 0.0, "")
        scene = make_scene(self._result, self.page, self._request.surface)
        what = f"{scene.kind} and carried organs" if self._result.organs else scene.kind
        count = self.count - round(SLICES_SHARE * self.count)
        frames = draw_turning(scene, self.page, f"CT scan {self._result.name}: {what}, from all sides", count)
        try:
            first = next(frames)
        except RuntimeError as error:
            self.notes.append(VTK_FAILS.format(reason=error))
            return []
        self._progress(SURFACES, 1.0, "")
        return [[first], frames]

    def _count_frames(self, frames: Iterator[Image.Image], stage: str, count: int) -> Iterator[Image.Image]:
        for number, frame in enumerate(frames, 1):
            yield frame
            self.drawn += 1
            self._progress(stage, number / count, f"picture {number} of {count}")
