"""`slicreg film`: a result as a film."""

from __future__ import annotations

from collections.abc import Iterator
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
from .film_writing import RATE, WIDTH, check_encoder, write_film
from .options import FilmRequest

SLICES_SHARE = 0.6
"""Of the film's length; the turning view has the rest."""
NO_ORGANS = "The result has no segmentation, so the film shows none."
NO_VTK = "VTK is not installed, so the film shows only the slices; `pip install vtk` adds the turning view."
VTK_FAILS = "VTK cannot draw here ({reason}), so the film shows only the slices."


def make_film(request: FilmRequest, progress: Progress = silent) -> str:
    """Write ``request.out``; returns what to tell. Raises UserError, before any work where that is possible."""
    suffix = request.out.suffix.lower()
    check_encoder(suffix)
    check_output(request.out, inputs=[request.target, request.label_names], make_parents=False)
    progress(READING, 0.0, "")
    result = read_result(request)
    progress(READING, 1.0, "")
    film = Film(request, result, progress)
    write_film(request.out, film.draw())
    width, height = film.page.size
    first = f"{request.out} written: {film.drawn / RATE[suffix]:.1f} s, {film.drawn} pictures of {width} x {height}."
    return "\n".join([first, *film.notes])


class Film:
    """The frames of a result's film. page: what they have in common. drawn: how many there are by now. notes: sentences
    on what it lacks."""

    def __init__(self, request: FilmRequest, result: FilmResult, progress: Progress = silent):
        suffix = request.out.suffix.lower()
        self.page = Page(request.width or WIDTH[suffix], result.organs, result.verdict)
        self.drawn = 0
        self.notes = [] if result.organs else [NO_ORGANS]
        self._count = max(2, round(request.seconds * RATE[suffix]))
        self._request, self._result, self._progress = request, result, progress

    def draw(self) -> Iterator[Image.Image]:
        turning = self._begin_turning() if self._request.surface != "none" else None
        count = round(SLICES_SHARE * self._count) if turning else self._count
        rows = make_rows(self._result, self.page)
        title = f"CT scan {self._result.name}, slice by slice"
        slices = draw_slices(rows, self.page, title, self._result.organs, count)
        yield from self._count_frames(slices, SLICES, count)
        if turning:
            yield from self._count_frames(turning, TURNING, self._count - count)

    def _begin_turning(self) -> Iterator[Image.Image] | None:
        """The frames of the second part, the first of which are drawn now, so that it is known whether VTK can; None
        where it cannot."""
        if not is_vtk_here():
            self.notes.append(NO_VTK)
            return None
        self._progress(SURFACES, 0.0, "")
        scene = make_scene(self._result, self.page, self._request.surface)
        what = f"{scene.kind} and carried organs" if self._result.organs else scene.kind
        count = self._count - round(SLICES_SHARE * self._count)
        frames = draw_turning(scene, self.page, f"CT scan {self._result.name}: {what}, from all sides", count)
        try:
            first = next(frames)
        except RuntimeError as error:
            self.notes.append(VTK_FAILS.format(reason=error))
            return None
        self._progress(SURFACES, 1.0, "")
        return chain([first], frames)

    def _count_frames(self, frames: Iterator[Image.Image], stage: str, count: int) -> Iterator[Image.Image]:
        for number, frame in enumerate(frames, 1):
            yield frame
            self.drawn += 1
            self._progress(stage, number / count, f"picture {number} of {count}")
