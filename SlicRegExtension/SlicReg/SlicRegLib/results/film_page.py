"""The frames of a film: title, verdict and legend around what each shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from ..images.segment_defaults import Colour
from ..registration.verdict_text import describe_verdict
from .drawing import GROUND, Font, load_font, wrap
from .film_result import ShownOrgan
from .overview import VERDICT_COLOURS

_TEXT, _FAINT = "white", "#a8adb5"
_BASE = 960  # width at which the sizes below hold, pixels
_TITLE, _NAME, _SMALL, _GAP = 22, 13, 13, 12
_SMALLEST = 8  # font that can be read, pixels
_LINES = 8  # of a verdict, more than any has


@dataclass(frozen=True)
class Place:
    """A rectangle of a page, pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Page:
    """A page of ``width`` pixels, in the shape 4 to 3, whose parts scale with it. Both sides are even, as encoders want
    them. organs: those in the legend, which is left out where there are none."""

    width: int
    organs: Sequence[ShownOrgan]
    verdict: tuple[str, str] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width // 2 * 2, self.width * 3 // 8 * 2

    @property
    def gap(self) -> int:
        return self.scaled(_GAP)

    @property
    def text_height(self) -> int:
        """Of a line of small text, with its space."""
        return self.line_height(_SMALL)

    @property
    def colours(self) -> list[Colour]:
        """Those of ground, texts and organs, each once."""
        texts = [_TEXT, _FAINT, *([VERDICT_COLOURS[self.verdict[0]]] if self.verdict else [])]
        rgb = [ImageColor.getrgb(text)[:3] for text in texts]
        return list(dict.fromkeys([GROUND, *((r, g, b) for r, g, b in rgb), *(organ.colour for organ in self.organs)]))

    @cached_property
    def body(self) -> Place:
        """Where a frame shows something: below the title, beside the legend, above the verdict."""
        width, height = self.size
        top = self.gap + self.line_height(_TITLE)
        bottom = self.gap + self.text_height * len(self._verdict_lines)
        return Place(self.gap, top, width - 2 * self.gap - self._legend_width, height - top - bottom)

    def begin(self, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """A page with all but its body, and what draws on it."""
        picture = Image.new("RGB", self.size, GROUND)
        draw = ImageDraw.Draw(picture)
        draw.text((self.gap, self.gap), self.fit(title, _TITLE, self.size[0] - 2 * self.gap), _TEXT, self.font(_TITLE))
        self._draw_legend(draw)
        for number, line in enumerate(reversed(self._verdict_lines)):
            assert self.verdict, "it has lines"
            place = (self.gap, self.size[1] - self.gap - number * self.text_height)
            draw.text(place, line, VERDICT_COLOURS[self.verdict[0]], self.font(_SMALL), anchor="ls")
        return picture, draw

    def write(self, draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, width: float) -> None:
        """A line of small text; ``place`` is its upper left corner."""
        draw.text(place, self.fit(text, _SMALL, width), _FAINT, self.font(_SMALL))

    def fit(self, text: str, size: int, width: float) -> str:
        """The text as one line, cut where it is wider than ``width`` pixels."""
        text = " ".join(text.split())
        measure = self.font(size).getlength
        if measure(text) <= width:
            return text
        while text and measure(f"{text}...") > width:
            text = text[:-1]
        return f"{text.rstrip()}..."

    def font(self, size: int) -> Font:
        return load_font(self.font_size(size))

    def font_size(self, size: int) -> int:
        return max(_SMALLEST, self.scaled(size))

    def line_height(self, size: int) -> int:
        """Of a text, with its space."""
        return round(1.5 * self.font_size(size))

    def scaled(self, pixels: float) -> int:
        return max(1, round(pixels * self.width / _BASE))

    @cached_property
    def _verdict_lines(self) -> list[str]:
        if not self.verdict:
            return []
        width = self.size[0] - 2 * self.gap
        lines = wrap(describe_verdict(*self.verdict), self.font(_SMALL).getlength, width)
        return [self.fit(line, _SMALL, width) for line in lines[:_LINES]]

    @property
    def _legend_width(self) -> int:
        return self.scaled(180) + self.gap if self.organs else 0

    def _draw_legend(self, draw: ImageDraw.ImageDraw) -> None:
        if not self.organs:
            return
        step, box = self.line_height(_NAME), self.font_size(_NAME)
        left, top = self.size[0] - self.gap - self._legend_width + self.gap, self.body.top
        room = self.body.height // step
        shown = self.organs if len(self.organs) <= room else self.organs[: room - 1]
        for number, organ in enumerate(shown):
            y = top + number * step
            draw.rectangle((left, y, left + box - 1, y + box - 1), organ.colour)
            name = self.fit(organ.name, _NAME, self._legend_width - self.gap - 1.5 * box)
            draw.text((left + 1.5 * box, y + box / 2), name, _TEXT, self.font(_NAME), anchor="lm")
        if len(shown) < len(self.organs):
            y = top + len(shown) * step
            self.write(draw, (left, y), f"and {len(self.organs) - len(shown)} more", self._legend_width - self.gap)


def paste(picture: Image.Image, frame: np.ndarray, left: int, top: int) -> None:
    """Put an array (rows, columns, 3) uint8 into a page."""
    picture.paste(Image.fromarray(frame), (left, top))
