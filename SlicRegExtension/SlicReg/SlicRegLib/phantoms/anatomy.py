"""The anatomy of a synthetic trunk: one table of implicit shapes in a canonical body frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .shapes import INF, Blob, Half, Shape, Tube


@dataclass(frozen=True)
class Layer:
    """Tissue painted where a part is deeper than the inset."""

    inset: float
    """Depth below the part's surface, mm."""
    hu: float
    grain: float | None = None
    """Paint only where the clump field (mean 0, standard deviation 1) exceeds this."""


@dataclass(frozen=True)
class Part:
    """A row of the anatomy: a blended union of shapes, less the cuts, filled with layers from the outside in."""

    shapes: tuple[Shape, ...]
    layers: tuple[Layer, ...]
    label: int = 0
    """A key of ORGANS; 0: unlabelled tissue."""
    hu_sd: float = 6.0
    """Standard deviation between subjects, HU."""
    texture: float = 5.0
    """Standard deviation of the smooth texture inside, HU."""
    cuts: tuple[Blob | Tube | Half, ...] = ()
    blend: float = 0.0
    """Distance over which the shapes blend into each other, mm."""
    group: str = ""
    """Parts of one group share one displacement and scale; "": no displacement of its own."""
    period: float = 0.0
    """Distance after which the part repeats along z, mm; 0: never."""


def _both(*shapes: Blob | Tube) -> tuple[Blob | Tube, ...]:
    """The shapes and their mirror images across the midline."""

    def mirror(shape: Blob | Tube) -> Blob | Tube:
        if isinstance(shape, Tube):
            return Tube(tuple((-x, y, z, radius) for x, y, z, radius in shape.knots))
        (x, y, z), (a, b, c) = shape.centre, shape.turn
        return replace(shape, centre=(-x, y, z), turn=(a, -b, -c))

    return shapes + tuple(map(mirror, shapes))


def _rib(head_z: float, sweep_deg: float) -> Tube:
    """Right rib inside the trunk wall, from its head at the spine forwards and down by the sweep angle."""
    angle = np.radians(np.linspace(14, sweep_deg, 5))
    x = 131 * np.sin(angle) ** 0.8
    y = -91 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8
    z = head_z - 32 * angle
    return Tube(tuple((float(a), float(b), float(c), 5.5) for a, b, c in zip(x, y, z, strict=True)))


_DOMES = (Blob((60, -2, 28), (68, 80, 80)), Blob((-62, -4, 26), (63, 78, 80)), Blob((0, 4, 45), (60, 70, 50)))
_STOMACH = (Tube(((-52, -8, 71, 25), (-62, 18, 48, 29), (-52, 44, 10, 23), (-18, 52, -8, 17), (20, 38, -2, 11))),)
_COLON = (
    Tube(
        (
            (96, 0, -135, 20),
            (100, 8, -65, 20),
            (88, 34, -40, 18),
            (45, 60, -52, 17),
            (0, 64, -58, 16),
            (-50, 58, -42, 16),
            (-92, 26, -12, 16),
            (-104, -8, -40, 15),
            (-102, -12, -95, 14),
            (-88, 0, -140, 14),
        )
    ),
)
_SPINE_END = (Half((0, 0, -128), (0, 0, -1)),)
_BONE = (Layer(0, 620), Layer(3.5, 230))
ANATOMY: tuple[Part, ...] = (
    # trunk wall: its outline scales apart from the muscle, which varies the fat's thickness
    Part((Blob((0, -1, 0), (161, 119, INF), power=2.4),), (Layer(0, 20), Layer(3, -102)), texture=7, group="outline"),
    Part((Blob((0, 0, 0), (138, 98, INF), power=2.5),), (Layer(0, 55), Layer(12, -98)), texture=9),
    Part(
        _both(
            Blob((33, -88, 0), (28, 17, INF), power=2.5),
            Tube(((26, -58, 20, 6), (38, -50, -60, 18), (52, -35, -140, 20), (70, 5, -230, 18))),
            Blob((82, -62, -200), (46, 34, 62)),
        ),
        (Layer(0, 58),),
        texture=9,
    ),
    # chest: lungs, heart and the two diaphragm domes that bulge into them
    Part(
        _both(Blob((71, -6, 130), (54, 74, INF), power=2.6)),
        (Layer(0, -830),),
        hu_sd=25,
        texture=30,
        cuts=(Half((0, 0, 72), (0, 0.35, -1)),),
    ),
    Part(
        (Blob((-20, 22, 142), (58, 46, 48), (0, 20, 0)),), (Layer(0, 20), Layer(4, 125), Layer(14, 165)), group="heart"
    ),
    Part(_DOMES, (Layer(0, 55),), blend=12, cuts=(Half((0, 0, 62), (0, 0.35, -1)),)),
    Part(_DOMES, (Layer(4, -98),), blend=12, texture=8),
    # skeleton
    Part((Blob((0, -53, 0), (21, 17, INF)),), (Layer(0, 90),), cuts=_SPINE_END),
    Part(
        (
            Blob((0, -53, 0), (23, 18, 13), power=3.2),
            Blob((0, -80, 0), (17, 14, 12), power=3),
            Blob((0, -97, -3), (4.5, 14, 10)),
        )
        + _both(Blob((30, -78, 2), (18, 5.5, 6))),
        _BONE,
        hu_sd=60,
        texture=40,
        cuts=_SPINE_END,
        blend=3,
        period=34,
    ),
    Part((Blob((0, -80, 0), (9.5, 8, INF)),), (Layer(0, 32),)),
    Part(
        (Blob((0, -66, -165), (44, 17, 52), (-18, 0, 0)),)
        + _both(
            Blob((78, -40, -158), (9, 58, 52), (0, 14, -38)),
            Blob((88, -4, -232), (25, 25, 25)),
            Tube(((95, -20, -205, 15), (60, 25, -245, 9))),
        ),
        _BONE,
        hu_sd=60,
        texture=40,
    ),
    *(
        Part((rib,), (Layer(0, 560), Layer(3, 300)), hu_sd=50, texture=40)
        for head, sweep in ((218, 150), (184, 150), (150, 145), (116, 135), (82, 112), (48, 70))
        for rib in _both(_rib(head, sweep))
    ),
    # bowel and bladder: loops differ from subject to subject, as they do in life
    Part(
        (Blob((0, 26, -110), (96, 46, 78), power=2.6),),
        (Layer(0, 38, 0.0), Layer(6, 70, 0.9), Layer(6, -650, 1.5)),
        texture=10,
    ),
    Part(_COLON, (Layer(0, 48), Layer(4, 15), Layer(5, -780, 0.3)), texture=14, group="colon"),
    Part((Blob((0, 22, -232), (40, 34, 30)),), (Layer(0, 45), Layer(4, 8)), group="bladder"),
    # upper abdominal organs
    Part(
        (Blob((64, -2, 36), (60, 74, 68), (0, -12, 0)), Blob((-2, 40, 56), (62, 32, 32), (0, -14, 0))),
        (Layer(0, 106),),
        6,
        hu_sd=8,
        blend=26,
        group="liver",
        cuts=(
            Half((60, 14, -10), (-0.62, 0.1, -0.8)),
            Blob((10, -40, 15), (38, 46, 60)),
            Blob((54, -54, -38), (36, 34, 62)),
        ),
    ),
    Part(
        (
            Tube(((24, -4, 82, 5), (58, -12, 70, 5), (92, -20, 52, 3.5))),
            Tube(((24, -2, 82, 5), (50, 28, 70, 4))),
            Tube(((42, 8, 38, 6), (72, 0, 30, 4.5), (92, -4, 12, 3))),
        ),
        (Layer(0, 150),),
        6,
        hu_sd=8,
        group="liver",
    ),
    Part(
        (Blob((-98, -28, 42), (23, 44, 50), (0, -10, 24)),),
        (Layer(0, 121),),
        1,
        hu_sd=8,
        group="spleen",
        cuts=(Blob((-68, -4, 38), (24, 34, 60), (0, -10, 24)),),
    ),
    Part(_STOMACH, (Layer(0, 72), Layer(5, 22)), 7, group="stomach"),
    Part(_STOMACH, (Layer(5, -900),), 7, cuts=(Half((0, 38, 0), (0, -1, 0)),), group="stomach", texture=10),
    Part(
        (Blob((58, -42, -34), (27, 23, 54), (-8, 10, 20)),),
        (Layer(0, 184), Layer(9, 142)),
        2,
        hu_sd=10,
        cuts=(Blob((36, -32, -34), (17, 14, 20)),),
        group="right kidney",
    ),
    Part(
        (Blob((-60, -42, -20), (27, 23, 55), (-8, -10, -20)),),
        (Layer(0, 184), Layer(9, 142)),
        3,
        hu_sd=10,
        cuts=(Blob((-38, -32, -20), (17, 14, 20)),),
        group="left kidney",
    ),
    Part(
        (Tube(((26, 38, -2, 11), (46, 24, -12, 12), (46, 12, -44, 12), (18, 6, -54, 11), (-18, 10, -42, 10))),),
        (Layer(0, 55), Layer(4, 28), Layer(5, -500, 1.2)),
        group="pancreas",
    ),
    Part(
        (Blob((60, 44, -14), (16, 17, 27), (28, 0, 0)),),
        (Layer(0, 40), Layer(2, 10)),
        4,
        texture=2,
        group="gallbladder",
    ),
    Part(
        (
            Tube(
                (
                    (32, 20, -32, 14),
                    (24, 20, -12, 14),
                    (6, 22, 4, 10),
                    (-22, 12, 12, 11),
                    (-56, -8, 22, 11),
                    (-80, -18, 32, 9),
                )
            ),
        ),
        (Layer(0, 98),),
        11,
        texture=12,
        group="pancreas",
    ),
    # vessels and the thin organs, last so that nothing thins them further
    Part(_both(Tube(((2, -26, -98, 7), (30, -30, -160, 6), (55, 10, -230, 5)))), (Layer(0, 185),)),
    Part(
        (
            Tube(((8, 8, 0, 6), (10, 16, -50, 5), (4, 30, -95, 3.5))),
            Tube(((-8, -12, 2, 4), (-4, 8, -30, 4), (-6, 24, -90, 3))),
        ),
        (Layer(0, 175),),
        group="pancreas",
    ),
    Part(
        (
            Tube(
                (
                    (-84, -24, 36, 4.5),
                    (-56, -18, 18, 5),
                    (-22, 0, 6, 5.5),
                    (8, 8, 2, 7.5),
                    (26, 12, 22, 7.5),
                    (48, 8, 38, 7),
                )
            ),
        ),
        (Layer(0, 188),),
        10,
        hu_sd=9,
        group="pancreas",
    ),
    Part(
        (Tube(((18, -24, -102, 10), (20, -20, -40, 11), (22, -17, 20, 12), (26, -9, 62, 12), (16, 6, 108, 12))),),
        (Layer(0, 152),),
        9,
        hu_sd=9,
    ),
    Part(
        (Tube(((-24, -36, 250, 12), (-20, -36, 100, 12), (-10, -24, 35, 11), (-8, -24, -40, 10), (-5, -25, -100, 9))),),
        (Layer(0, 200),),
        8,
        hu_sd=10,
    ),
    Part(
        (Tube(((0, -24, 250, 9), (-4, -18, 120, 9), (-16, -8, 90, 9), (-36, -5, 72, 9))),),
        (Layer(0, 52), Layer(6, 20)),
        5,
        texture=8,
    ),
    Part(
        (Tube(((31, -30, 50, 5.6), (32, -42, 22, 5.4))), Tube(((31, -30, 50, 5.6), (46, -40, 28, 5.4)))),
        (Layer(0, 95),),
        12,
        group="right adrenal",
    ),
    Part(
        (Tube(((-35, -24, 36, 5.6), (-31, -38, 8, 5.4))), Tube(((-35, -24, 36, 5.6), (-48, -34, 14, 5.4)))),
        (Layer(0, 95),),
        13,
        group="left adrenal",
    ),
)
