"""What a CT can look like, in Hounsfield units and stored in other ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray | None]
"""From HU (I, J, K) to other voxels; None where it does not apply to this scan."""


# --- what a CT in Hounsfield units can look like ---


def body_of(hu: np.ndarray) -> np.ndarray:
    """The largest part above -300 HU, its cavities filled slice by slice."""
    labels, _ = ndimage.label(ndimage.binary_opening(hu > -300))
    body = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.stack([ndimage.binary_fill_holes(body[..., k]) for k in range(hu.shape[2])], -1)


def round_field(shape: tuple[int, ...]) -> np.ndarray:
    """Which voxels lie in the scanner's round field of view, (I, J, 1)."""
    i, j = np.indices(shape[:2]) / (np.array(shape[:2]).reshape(2, 1, 1) - 1) * 2 - 1
    return (i**2 + j**2 < 1)[..., None]


def padded(value: float) -> Change:
    return lambda hu, rng: np.where(round_field(hu.shape), hu, value)


def around(value: float) -> Change:
    """All outside the body replaced."""
    return lambda hu, rng: np.where(body_of(hu), hu, value)


def noisy(sd: float, low: float = -np.inf) -> Change:
    return lambda hu, rng: np.maximum(np.round(hu + rng.normal(0, sd, hu.shape)), low)


def real_air(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Air with noise and a table where there is padding."""
    air = np.where(hu <= -1000, np.maximum(np.round(rng.normal(-995, 12, hu.shape)), -1024), hu)
    behind = slice(int(hu.shape[1] * 0.05), int(hu.shape[1] * 0.08) + 1)
    air[:, behind] = np.maximum(air[:, behind], rng.normal(-150, 60, air[:, behind].shape).round())
    return air


def inside(share: float, lift: float = 0.0) -> Change:
    """A box in the middle of the body, without the air around it."""

    def crop(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        body = ndimage.binary_erosion(body_of(hu), iterations=3)
        depth = ndimage.distance_transform_cdt(np.pad(body, 1), "chessboard")[1:-1, 1:-1, 1:-1]
        centre = np.unravel_index(depth.argmax(), depth.shape)
        reach = int(depth.max() * share)
        if reach < 4:
            return None
        return hu[tuple(slice(max(0, c - reach), c + reach) for c in centre)]

    return crop


def slab(where: float, slices: int = 8) -> Change:
    def cut(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        filled = np.flatnonzero((hu > -300).mean((0, 1)) > 0.01)
        first = int(filled[0] + where * max(0, len(filled) - slices))
        return hu[:, :, first : first + slices]

    return cut


def fitted(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The bounding box of the body."""
    return hu[ndimage.find_objects(body_of(hu).astype(int))[0]]


def thick(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = hu.shape[2] // 4
    return hu[:, :, : 4 * n].reshape(*hu.shape[:2], n, 4).mean(-1)


def resized(order: int, factor: float) -> Change:
    return lambda hu, rng: ndimage.zoom(hu.astype(np.float32), factor, order=order)


def with_metal(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    changed = hu.copy()
    tissue = np.argwhere(hu > 0)
    i, j, k = tissue[rng.integers(len(tissue))]
    changed[i : i + 3, j : j + 3, k : k + 3] = 30000
    changed[i + 3 : i + 5, j : j + 3, k : k + 3] = -5000  # streaks
    return changed


def with_contrast(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the soft tissue, in smooth clumps, is 60 to 250 HU brighter."""
    clumps = ndimage.gaussian_filter(rng.normal(size=hu.shape), 4)
    bright = (hu > 10) & (hu < 120) & (clumps > 0)
    return np.where(bright, hu + rng.uniform(60, 250), hu)


def lung(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the soft tissue is lung."""
    clumps = ndimage.gaussian_filter(rng.normal(size=hu.shape), 4)
    return np.where((hu > -200) & (hu < 120) & (clumps > 0), rng.normal(-830, 50, hu.shape).round(), hu)


def without_fat(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where((hu > -200) & (hu < -20), rng.normal(35, 12, hu.shape).round(), hu)


CT: dict[str, Change] = {
    "as it is": lambda hu, rng: hu,
    "padding -2000": padded(-2000),
    "padding -2048": padded(-2048),
    "padding -3024": padded(-3024),
    "padding -32768": padded(-32768),
    "padding -1000 around the body": around(-1000),
    "air with noise, table": real_air,
    "low dose, noise of 40 HU": noisy(40),
    "low dose, noise of 80 HU, cut at -1024": noisy(80, -1024),
    "metal of 30000 HU and streaks": with_metal,
    "cut at 3071": lambda hu, rng: np.clip(hu, -1024, 3071),
    "cut at -1000 and 2000": lambda hu, rng: np.clip(hu, -1000, 2000),
    "cut at -1000 and 1000": lambda hu, rng: np.clip(hu, -1000, 1000),
    "cropped to the body": fitted,
    "cropped inside the body": inside(0.8),
    "small crop inside the body": inside(0.45),
    "8 slices, lowest": slab(0.0),
    "8 slices, middle": slab(0.5),
    "8 slices, highest": slab(1.0),
    "lower half": lambda hu, rng: hu[:, :, : hu.shape[2] // 2],
    "upper half": lambda hu, rng: hu[:, :, hu.shape[2] // 2 :],
    "slices 4 times as thick": thick,
    "resampled, linear, float": resized(1, 1.4),
    "resampled, cubic, float": resized(3, 0.7),
    "smoothed": lambda hu, rng: ndimage.gaussian_filter(hu.astype(np.float32), 1.0),
    "contrast agent": with_contrast,
    "half of the body is lung": lung,
    "no fat": without_fat,
    "calibration +30 HU": lambda hu, rng: hu + 30,
    "calibration -30 HU": lambda hu, rng: hu - 30,
    "calibration 5 % off": lambda hu, rng: (hu + 1000) * 1.05 - 1000,
}


# --- a CT that is stored in another way ---


def stored_with(offset: float, low: float = -np.inf, before: Change = CT["as it is"]) -> Change:
    def shift(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        hu = before(hu, rng)
        return None if hu is None else np.maximum(hu + offset, low)

    return shift


def shifted_inside(offset: float, padding: float) -> Change:
    """All but the padding."""
    return lambda hu, rng: np.where(round_field(hu.shape), hu + offset, padding)


def scaled(low: float, high: float, start: float, stop: float, whole: bool = False) -> Change:
    """HU from low to high become start to stop; beyond them they are cut."""

    def scale(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        values = start + (np.clip(hu, low, high) - low) / (high - low) * (stop - start)
        return np.round(values) if whole else values

    return scale


SHIFTED: dict[str, Change] = {
    "+1024, unsigned": stored_with(1024, 0),
    "+1024, air with noise, table": stored_with(1024, before=real_air),
    "+1024, low dose": stored_with(1024, 0, lambda hu, rng: noisy(40)(real_air(hu, rng), rng)),
    "+1024, padding -2000": shifted_inside(1024, -2000),
    "+1024, padding -1024": shifted_inside(1024, -1024),
    "+1024, resampled": stored_with(1024, before=resized(1, 1.4)),
    "+1024, 8 slices": stored_with(1024, 0, slab(0.5)),
    "+1000": stored_with(1000, -24),
    "+1000, unsigned, air with noise": stored_with(1000, 0, real_air),
    "+8192": stored_with(8192),
    "+32768": stored_with(32768),
    "+1024, 0 outside the body": lambda hu, rng: np.where(body_of(hu), hu + 1024, 0),
    "-1024 (subtracted twice)": stored_with(-1024),
    "negative HU as unsigned 16 bit": lambda hu, rng: np.where(hu < 0, hu + 65536.0, hu),
}
CHANGED: dict[str, Change] = {
    "+1024, cropped inside the body": stored_with(1024, before=inside(0.8)),
    "+500": stored_with(500),
    "-HU": lambda hu, rng: -hu,
    "inverted, 0 to 4095": lambda hu, rng: 3071.0 - np.minimum(hu, 3071),
    "0 to 1": scaled(-1024, 3071, 0, 1),
    "-1 to 1": scaled(-1000, 1000, -1, 1),
    "0 to 255 (-1000 to 1000 HU)": scaled(-1000, 1000, 0, 255, True),
    "0 to 255 (-160 to 240 HU)": scaled(-160, 240, 0, 255, True),
    "0 to 1000": scaled(-1000, 1000, 0, 1000),
    "z-score": lambda hu, rng: (hu - hu.mean()) / hu.std(),
    "z-score of the body": lambda hu, rng: (hu - hu[hu > -300].mean()) / hu[hu > -300].std(),
    "HU / 1000": lambda hu, rng: hu / 1000,
    "HU / 10": lambda hu, rng: hu / 10,
    "HU / 2": lambda hu, rng: hu / 2,
    "2 HU": lambda hu, rng: hu * 2.0,
    "(HU + 1024) / 2": lambda hu, rng: (hu + 1024) / 2,
    "attenuation in 1/mm": lambda hu, rng: (hu + 1000) * 1.9e-5,
    "cut at -160 and 240": lambda hu, rng: np.clip(hu, -160, 240),
    "cut at -200 and 300": lambda hu, rng: np.clip(hu, -200, 300),
    "cut at 0 and 80": lambda hu, rng: np.clip(hu, 0, 80),
    "0 outside the body": around(0),
}
