"""Pairs of scans whose verdict is known: good ones, and wrong ones of every kind that users have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from pose import draw_pose, move
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.files import list_images, stem
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.phantoms.phantom import make_phantom

Labelled = tuple[Volume, Volume | None]
"""A scan and its labels on the same grid, if there are any."""
Change = Callable[[Volume], Volume]


@dataclass(frozen=True)
class Pair:
    """A registration to judge.

    model: "head" or "trunk". kind: what was done to the target. truth: "good" or "wrong" by construction, or "look"
    where only a look, or Dice, tells. split: "fit" (the rule may be chosen on it) or "test".
    """

    name: str
    model: str
    kind: str
    truth: str
    split: str
    fixed: Callable[[], Labelled]
    moving: Callable[[], Labelled]


def changed(read: Callable[[], Labelled], change: Change) -> Callable[[], Labelled]:
    """The same scan and labels, both changed."""

    def make() -> Labelled:
        scan, labels = read()
        return change(scan), change(labels) if labels else None

    return make


def scale_spacing(*factors: float) -> Change:
    """The same voxels with a wrong spacing along I, J, K, about the same centre."""

    def change(volume: Volume) -> Volume:
        affine = volume.grid.affine.copy()
        affine[:3, :3] *= np.array(factors)
        affine[:3, 3] += volume.grid.centre - Grid(volume.grid.shape, affine).centre
        return replace(volume, grid=Grid(volume.grid.shape, affine))

    return change


def lose_geometry(volume: Volume) -> Volume:
    """Spacing 1 mm, origin 0, axes right, anterior, superior."""
    return replace(volume, grid=Grid(volume.grid.shape, np.eye(4)))


def flip(axis: int) -> Change:
    """The voxels in the opposite order along an axis of the array, under the same header."""
    return lambda volume: replace(volume, data=np.ascontiguousarray(np.flip(volume.data, axis)))


def permute(*order: int) -> Change:
    """The axes of the array in another order, the spacings with them, the directions of the header as before."""

    def change(volume: Volume) -> Volume:
        data = np.ascontiguousarray(volume.data.transpose(order))
        affine = volume.grid.affine.copy()
        spacing = volume.grid.spacing
        affine[:3, :3] = affine[:3, :3] / spacing * spacing[list(order)]
        return Volume(data, Grid(data.shape, affine))

    return change


def crop(low: float, high: float) -> Change:
    """Only a part of the scan along the body, as shares of its extent, from the feet up."""

    def change(volume: Volume) -> Volume:
        n = volume.data.shape[2]
        first, last = round(low * n), round(high * n)
        affine = volume.grid.affine.copy()
        affine[:3, 3] = volume.grid.to_world(np.array([0.0, 0.0, first]))
        data = np.ascontiguousarray(volume.data[:, :, first:last])
        return Volume(data, Grid(data.shape, affine))

    return change


def pose(seed: int) -> Callable[[Callable[[], Labelled]], Callable[[], Labelled]]:
    """Up to 25 degrees, 80 mm along each axis, 0.85 to 1.15 times the size."""

    def wrap(read: Callable[[], Labelled]) -> Callable[[], Labelled]:
        def change(volume: Volume) -> Volume:
            matrix, _ = draw_pose(np.random.default_rng(seed), volume.grid.centre, 25.0, 80.0, (0.85, 1.15))
            return move(volume, matrix)

        return changed(read, change)

    return wrap


def edit_voxels(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Callable[[], Labelled]], Callable]:
    """Another image on the same grid."""

    def wrap(read: Callable[[], Labelled]) -> Callable[[], Labelled]:
        def make() -> Labelled:
            scan, labels = read()
            return Volume(function(scan.data).astype(np.float32), scan.grid), labels

        return make

    return wrap


def smooth_noise(data: np.ndarray) -> np.ndarray:
    """A ball of tissue-like blobs."""
    generator = np.random.default_rng(0)
    noise = gaussian_filter(generator.normal(size=data.shape), 4)
    steps = np.indices(data.shape).reshape(3, -1) / np.array(data.shape)[:, None] - 0.5
    inside = ((steps**2).sum(0) < 0.16).reshape(data.shape)
    return np.where(inside, 60 + 250 * noise / noise.std(), -1000)


def water_box(data: np.ndarray) -> np.ndarray:
    """A box of water, as for calibration, with four inserts."""
    image = np.full(data.shape, -1000.0)
    n = np.array(data.shape)
    a, b = n // 5, n - n // 5
    image[a[0] : b[0], a[1] : b[1], a[2] : b[2]] = 20
    for number, (i, j) in enumerate(((1, 1), (1, 2), (2, 1), (2, 2))):
        at = [int(n[0] * i / 3), int(n[1] * j / 3)]
        image[at[0] - 5 : at[0] + 5, at[1] - 5 : at[1] + 5, a[2] : b[2]] = (-800, -100, 200, 900)[number]
    return image


def label_map(data: np.ndarray) -> np.ndarray:
    """A segmentation by HU with values that pass for Hounsfield units."""
    return np.select([data < -300, data < -20, data < 150], [-1000, 40, 100], 220)


def forget_offset(data: np.ndarray) -> np.ndarray:
    """Stored with an offset of 1024."""
    return data + 1024


WRONG_GEOMETRY: dict[str, Change] = {
    "spacing x 0.3": scale_spacing(0.3, 0.3, 0.3),
    "spacing x 0.5": scale_spacing(0.5, 0.5, 0.5),
    "spacing x 2": scale_spacing(2, 2, 2),
    "right-left x 2": scale_spacing(2, 1, 1),
    "front-back x 0.5": scale_spacing(1, 0.5, 1),
    "along the body x 2": scale_spacing(1, 1, 2),
    "along the body x 0.5": scale_spacing(1, 1, 0.5),
    "geometry lost": lose_geometry,
    "upside down": flip(2),
    "front to back": flip(1),
    "axes i and k swapped": permute(2, 1, 0),
    "axes j and k swapped": permute(0, 2, 1),
}
MIRROR = flip(0)
NOT_ANATOMY = {"noise": smooth_noise, "water": water_box, "label map": label_map, "offset 1024": forget_offset}
PARTS = {"lower half": crop(0, 0.5), "upper half": crop(0.5, 1), "middle": crop(0.25, 0.75)}


def phantom(seed: int) -> Callable[[], Labelled]:
    def make() -> Labelled:
        subject = make_phantom(seed)
        grid = Grid(subject.image.shape, subject.affine)
        return Volume(subject.image, grid), Volume(subject.labels, grid)

    return make


def files(image: Path, labels: Path | None = None) -> Callable[[], Labelled]:
    def make() -> Labelled:
        scan = load_scan(image)
        return scan, load_labels(labels, scan) if labels and labels.exists() else None

    return make


def all_pairs(shared: Path) -> Iterator[Pair]:
    """Every pair, the kinds interleaved, so that any first part of them is a fair sample."""
    groups: list[list[Pair]] = []
    for model in ("head", "trunk"):
        for split in ("fit", "test"):
            groups += _groups(model, split, _subjects(shared, model, split), shared)
    while groups:  # one of each group in turn
        for group in groups:
            yield group.pop(0)
        groups = [group for group in groups if group]


def _subjects(shared: Path, model: str, split: str) -> dict[str, Callable[[], Labelled]]:
    """The subjects of an anatomy that belong to a split."""
    if model == "trunk":
        return {f"phantom_{n}": phantom(n) for n in range(*{"fit": (2001, 2021), "test": (3001, 3021)}[split])}
    folder = shared / "openkbp" / {"fit": "train", "test": "val"}[split]
    return {stem(path): files(path, folder / "label" / path.name) for path in list_images(folder / "img")[:60]}


def _template(shared: Path, model: str) -> Callable[[], Labelled]:
    folder = shared / "openkbp" / "template"
    return phantom(0) if model == "trunk" else files(folder / "img/pt_112.nii.gz", folder / "label/pt_112.nii.gz")


def _groups(model: str, split: str, subjects: dict[str, Callable[[], Labelled]], shared: Path) -> list[list[Pair]]:
    """Lists of pairs, one for each family of kinds."""
    fixed, names = _template(shared, model), list(subjects)
    turn = np.random.default_rng(5).permutation(len(names)) if split == "fit" else np.arange(len(names))
    names = [names[n] for n in turn]
    other = "trunk" if model == "head" else "head"
    few = len(names) if split == "test" else 12

    def pair(name: str, kind: str, truth: str, moving, template=fixed, on=model) -> Pair:
        return Pair(f"{on} {split} {kind} {name}".replace(" ", "_"), on, kind, truth, split, template, moving)

    def one(n: int) -> tuple[str, Callable[[], Labelled]]:
        name = names[n % len(names)]
        return name, subjects[name]

    as_is = [pair(name, "as it is", "good", subjects[name]) for name in names]
    posed = [pair(name, "pose", "good", pose(n)(subjects[name])) for n, name in enumerate(names[:few])]
    patients = [
        pair(f"{one(n + 1)[0]}_to_{one(n)[0]}", "two patients", "good", one(n + 1)[1], one(n)[1])
        for n in range(min(10, few))
    ]
    parts = [pair(one(n)[0], kind, "look", changed(one(n)[1], part)) for n in range(6) for kind, part in PARTS.items()]
    geometry = [
        pair(one(3 * k + n)[0], kind, "wrong", changed(one(3 * k + n)[1], change))
        for k in range(4)
        for n, (kind, change) in enumerate(WRONG_GEOMETRY.items())
    ]
    mirrored = [pair(name, "mirrored", "wrong", changed(subjects[name], MIRROR)) for name in names[: max(few, 16)]]
    unrelated = [
        pair(one(k)[0], kind, "look" if kind == "label map" else "wrong", edit_voxels(function)(one(k)[1]))
        for k in range(2)
        for kind, function in NOT_ANATOMY.items()
    ]
    # this anatomy, by the other model, on the other's template and on its own
    foreign = [
        pair(one(n)[0], "wrong anatomy", "wrong", one(n)[1], _template(shared, other), other) for n in range(6)
    ] + [pair(one(n)[0], "wrong model", "look", one(n)[1], fixed, other) for n in range(3)]
    foreign += [pair(one(n)[0], "untrained model", "wrong", one(n)[1], fixed, f"untrained {model}") for n in range(2)]
    groups = [as_is, posed, patients, parts, *(geometry[n::3] for n in range(3)), mirrored, unrelated, foreign]
    if model == "head" and split == "test":
        folder = shared / "openkbp" / "partial_view"
        partial = [
            pair(stem(path), "partial view", "good", files(path, folder / "label" / path.name))
            for path in list_images(folder / "img")
        ]
        groups.append(partial)
    if model == "trunk" and split == "test":
        trunks = [*list_images(shared / "trunk"), shared / "abdomen" / "example_ct.nii.gz"]
        # by a look at them: the two livers, short scans, are drawn out over the whole phantom; the third one is usable
        real = [
            pair(stem(path), "real trunk", "wrong" if path.parent.name == "trunk" else "look", files(path))
            for path in trunks
        ]
        real += [pair(stem(path), "real trunk mirrored", "wrong", changed(files(path), MIRROR)) for path in trunks]
        real += [
            pair(stem(path), "wrong anatomy", "wrong", files(path), _template(shared, "head"), "head")
            for path in trunks
        ]
        groups.insert(0, real)
    return groups
