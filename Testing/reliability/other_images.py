"""Images that are no CT, made from the tissues of one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from reliability.ct_changes import Change

TISSUES = (-2000, -500, -30, 25, 50, 150)
"""HU that divide air, fat, fluid and brain, muscle, organs with contrast agent, bone."""


def paint_tissues(hu: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """A value for air (below -500 HU), fat, fluid, muscle, organs and bone."""
    classes = np.digitize(ndimage.gaussian_filter(hu.astype(np.float32), 0.6), TISSUES[1:])
    return np.asarray(values, np.float32)[classes]


def bias(shape: tuple[int, ...], rng: np.random.Generator, strength: float) -> np.ndarray:
    """A smooth factor around 1, as a coil's sensitivity."""
    coarse = ndimage.gaussian_filter(rng.normal(size=[n // 4 + 2 for n in shape]), 6)
    field = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)
    return np.exp(strength * field / np.abs(field).max())


def magnetic(values: tuple[float, ...], scale: float, noise: float = 0.03, strength: float = 0.4) -> Change:
    """An MR image of these tissue values: texture, bias field, Rician noise; whole numbers."""

    def paint(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        signal = paint_tissues(hu, values) + 0.0005 * (np.clip(hu, -200, 300) - 50)
        signal = np.maximum(signal, 0) * bias(hu.shape, rng, strength)
        real, imaginary = rng.normal(0, noise, (2, *hu.shape))
        return np.round(scale * np.hypot(signal + real, imaginary))

    return paint


T1, T2 = (0.02, 1.0, 0.3, 0.55, 0.6, 0.15), (0.02, 0.7, 1.0, 0.3, 0.45, 0.05)


def uptake(scale: float, whole: bool = False) -> Change:
    """PET: low in the body, hot spots."""

    def paint(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spots = np.maximum(ndimage.gaussian_filter(rng.normal(size=hu.shape), 3), 0) ** 3
        activity = (hu > -300) * (0.8 + 15 * spots / spots.max()) + 0.02 * rng.random(hu.shape)
        activity = scale * ndimage.gaussian_filter(activity, 1.2)
        return np.round(activity) if whole else activity

    return paint


def dose(unit: float) -> Change:
    def paint(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spot = np.zeros(hu.shape)
        spot[tuple(n // 2 for n in hu.shape)] = 1
        spot = ndimage.gaussian_filter(spot, 12)
        return unit * 70 * spot / spot.max() * (hu > -900)

    return paint


def distance(signed: bool) -> Change:
    def measure(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        body = hu > -300
        outside = ndimage.distance_transform_edt(~body) * 3.0
        return outside - 3.0 * ndimage.distance_transform_edt(body) if signed else outside

    return measure


def smooth(centre: float, sd: float) -> Change:
    def make(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.normal(size=hu.shape), 5)
        return centre + sd * field / field.std()

    return make


OTHER: dict[str, Change] = {
    "label map": lambda hu, rng: paint_tissues(hu, (0, 1, 2, 3, 4, 5)),
    "label map, labels up to 200": lambda hu, rng: paint_tissues(hu, (0, 10, 200, 33, 104, 57)),
    "mask": lambda hu, rng: (hu > -300) * 1.0,
    "mask of 0 and 255": lambda hu, rng: (hu > -300) * 255.0,
    "probability": lambda hu, rng: ndimage.gaussian_filter((hu > -300) * 1.0, 2),
    "MR, T1, to 400": magnetic(T1, 400),
    "MR, T1, to 1500": magnetic(T1, 1500),
    "MR, T1, to 2000, no bias field": magnetic(T1, 2000, strength=0.02),
    "MR, T2, to 255": magnetic(T2, 255),
    "MR, T2, to 4095": magnetic(T2, 4095, 0.05),
    "MR, T2, to 1100": magnetic(T2, 1100, 0.01, 0.2),
    "MR, fat suppressed, to 1200": magnetic((0.02, 0.05, 0.6, 0.9, 1.0, 0.1), 1200, strength=0.1),
    "MR, phase": lambda hu, rng: np.round(rng.uniform(-4096, 4095, hu.shape)),
    "MR, diffusion coefficient": magnetic((0.01, 0.3, 3.0, 1.2, 1.5, 0.4), 1000),
    "MR, z-score": lambda hu, rng: magnetic(T1, 10.0)(hu, rng) / 3 - 1,
    "PET, SUV": uptake(1),
    "PET, Bq/ml": uptake(5000, True),
    "dose in Gy": dose(1),
    "dose in cGy": dose(100),
    "distance map": distance(False),
    "signed distance map": distance(True),
    "Jacobian determinant": smooth(1, 0.2),
    "displacement in mm": smooth(0, 15),
    "large displacement in mm": smooth(20, 60),
    "gradient magnitude": lambda hu, rng: ndimage.gaussian_gradient_magnitude(hu.astype(np.float32), 1),
    "noise, normal": lambda hu, rng: rng.normal(0, 1, hu.shape),
    "noise, 0 to 255": lambda hu, rng: rng.integers(0, 256, hu.shape),
    "noise, 0 to 4095": lambda hu, rng: rng.integers(0, 4096, hu.shape),
}
