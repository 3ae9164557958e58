"""Shared fixtures: a tiny study and model, real scans where they are, odd grids, smooth fields with known vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid

SHARED = Path(__file__).resolve().parents[2] / "shared"  # real scans beside the repository


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; run with --slow")
    config.option.loadscopereorder = False  # else pytest-xdist would begin with the files that have most tests


def pytest_collection_modifyitems(config, items):
    # the longest file first: with several processes it would else end long after all others
    items.sort(key=lambda item: item.path.name != "test_first_hour.py")
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(autouse=True)
def bars_end_with_their_test():
    """A bar that a test leaves open would move those of the tests that follow down by a line."""
    yield
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that holds `openkbp`; the test is skipped where it is absent."""
    if not (SHARED / "openkbp").is_dir():
        pytest.skip(f"no real scans at {SHARED / 'openkbp'}")
    return SHARED


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The tiny study of phantoms; tests must not change its files."""
    from tiny import tiny_study

    return tiny_study(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture(scope="session")
def model(study):
    """An untrained model of the tiny study; tests must not change it."""
    from tiny import tiny_model

    return tiny_model(study)


def _oblique(
    shape=(14, 12, 10), spacing=(2.0, 3.0, 2.5), degrees=(20.0, -10.0, 5.0), origin=(-11.0, 23.0, 7.0)
) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return Grid(shape, affine)


def _anisotropic(shape=(24, 20, 9), spacing=(0.8, 0.8, 5.0), centre=(3.0, -4.0, 5.0)) -> Grid:
    return Grid.centred(centre, shape, spacing)


def _left_handed(shape=(12, 14, 10), spacing=(2.0, 3.0, 2.5), origin=(20.0, -15.0, 4.0)) -> Grid:
    """Array axes along L, A, S: one axis runs against RAS, so the determinant is negative."""
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = origin
    return Grid(shape, affine)


GRIDS = {"oblique": _oblique, "anisotropic": _anisotropic, "left_handed": _left_handed}


@pytest.fixture
def oblique():
    """Factory: oblique(shape, spacing, degrees, origin) -> Grid."""
    return _oblique


@pytest.fixture
def anisotropic():
    """Factory: anisotropic(shape, spacing, centre) -> Grid."""
    return _anisotropic


@pytest.fixture
def left_handed():
    """Factory: left_handed(shape, spacing, origin) -> Grid."""
    return _left_handed


@pytest.fixture(params=GRIDS)
def odd_grid(request) -> Grid:
    """One grid of each kind: oblique, anisotropic, left-handed."""
    return GRIDS[request.param]()


@pytest.fixture
def smooth_field():
    """Factory: smooth_field(grid, amplitude_mm, seed, wavelength_mm) -> DisplacementField.

    Each component is amplitude * product of three sines of the world coordinates (random phases): analytic, and at most
    ``amplitude_mm``; its Jacobian stays above 0 while 2 pi sqrt(3) amplitude / wavelength is below 1.
    """

    def make(grid: Grid, amplitude_mm: float = 5.0, seed: int = 0, wavelength_mm: float = 80.0) -> DisplacementField:
        phase = torch.from_numpy(np.random.default_rng(seed).uniform(0, 2 * np.pi, (3, 3))).float()
        points = grid.points()[..., None, :]  # (I, J, K, 1, 3)
        waves = torch.sin(2 * torch.pi * points / wavelength_mm + phase).prod(-1)
        return DisplacementField((amplitude_mm * waves).movedim(-1, 0).contiguous(), grid)

    return make
