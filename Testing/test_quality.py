"""The quality of a field: known answers, and which fields of a cohort are excluded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.field import DisplacementField, affine_field, identity_field
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.images.preparation import PreparedScan, canonical_grid, prepare
from SlicRegLib.teaching.quality import FieldQuality, find_implausible, measure_field
from tiny import FRAME, CentreTeacher, phantom

GOOD = FieldQuality(0.6, 0.9, 0.1, 0.4, 2.5, 12.0)


@pytest.fixture(scope="module")
def scan() -> PreparedScan:
    volume = phantom(1)[0]
    grid = canonical_grid(volume, FRAME.shape, FRAME.spacing_mm)
    return PreparedScan("pt_1", prepare(volume, grid), grid)


def moved(scan: PreparedScan, offset) -> PreparedScan:
    """The same scan elsewhere in the world."""
    return PreparedScan("template", scan.hu, Grid(scan.grid.shape, translation(offset) @ scan.grid.affine))


def test_a_scan_on_itself(scan):
    quality = measure_field(scan, scan, identity_field(scan.grid))
    assert quality.similarity_before == pytest.approx(1) and quality.similarity_after == pytest.approx(1, abs=1e-4)
    assert (quality.folding_percent, quality.mean_displacement_mm) == (0, 0)
    assert quality.stretch_low == pytest.approx(1) and quality.stretch_high == pytest.approx(1)


def test_the_shift_between_frames_is_no_displacement(scan):
    template = moved(scan, (1000, -50, 20))
    quality = measure_field(scan, template, CentreTeacher().register(scan, template))
    assert quality.similarity_before == pytest.approx(1) and quality.similarity_after == pytest.approx(1, abs=1e-4)
    assert quality.mean_displacement_mm == pytest.approx(0, abs=1e-3)
    lost = measure_field(scan, template, identity_field(scan.grid))  # points to where the template is not
    assert lost.similarity_after == 0 and lost.mean_displacement_mm == pytest.approx(
        np.linalg.norm((1000, -50, 20)), rel=1e-4
    )


def test_a_scaling_about_the_centre(scan):
    centre = scan.grid.centre
    matrix = translation(centre) @ np.diag([1.2, 1.1, 0.9, 1]) @ translation(-centre)
    quality = measure_field(scan, scan, affine_field(matrix, scan.grid))
    assert (quality.stretch_low, quality.stretch_high) == pytest.approx((1.2 * 1.1 * 0.9,) * 2, rel=1e-3)
    assert quality.folding_percent == 0 and quality.similarity_after < quality.similarity_before
    away = (scan.grid.points().numpy() - centre)[scan.body.numpy()]
    assert quality.mean_displacement_mm == pytest.approx(
        np.linalg.norm(away * (0.2, 0.1, -0.1), axis=1).mean(), rel=1e-4
    )


def test_a_folded_field(scan):
    """The right half is mirrored onto the left one: det J is -1 there, and +-0.5 on the voxels at the border."""
    x = scan.grid.points()[..., 0] - float(scan.grid.centre[0])
    vectors = torch.stack([-2 * x.clamp_min(0), torch.zeros_like(x), torch.zeros_like(x)])
    quality = measure_field(scan, scan, DisplacementField(vectors, scan.grid))
    body = scan.body[1:-1, 1:-1, 1:-1]
    share = float((x[1:-1, 1:-1, 1:-1] > 0)[body].double().mean())
    assert 0.3 < share < 0.7 and quality.folding_percent == pytest.approx(100 * share)
    assert quality.stretch_low == pytest.approx(-1, abs=1e-4) and quality.stretch_high == pytest.approx(1, abs=1e-4)
    assert "folds" in find_implausible({"pt_1": quality})["pt_1"]


def test_a_field_that_makes_it_worse(scan):
    """Three voxels to the side: the correlation with the rolled scan, air where it rolled in."""
    vectors = torch.zeros(3, *scan.grid.shape)
    vectors[0] = 3 * FRAME.spacing_mm
    quality = measure_field(scan, scan, DisplacementField(vectors, scan.grid))
    rolled = np.concatenate([scan.hu.numpy()[3:], np.full((3, *scan.grid.shape[1:]), -1000)])
    pair = [np.clip(hu, -200, 300)[scan.region.numpy()] for hu in (scan.hu.numpy(), rolled)]
    assert quality.similarity_after == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-3)
    assert quality.similarity_after < 0.95 and quality.mean_displacement_mm == pytest.approx(24)
    assert "less similar to the template" in find_implausible({"pt_1": quality})["pt_1"]


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"similarity_after": 0.55},
            "field makes the scan less similar to the template (correlation 0.600 before, 0.550 after)",
        ),
        ({"folding_percent": 7.2}, "the teacher's field folds 7.2 % of the body"),
        ({"stretch_low": 0.01}, "compresses the body (1st percentile of the volume ratio 0.01, below 0.05)"),
        ({"stretch_high": 21.0}, "expands the body (99th percentile of the volume ratio 21, above 20)"),
        ({"folding_percent": 9.0, "stretch_high": 30.0}, "the teacher's field folds 9.0 % of the body and expands"),
    ],
)
def test_implausible_fields(change, words):
    assert words in find_implausible({"a": GOOD, "b": replace(GOOD, **change), "c": GOOD})["b"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"similarity_after": 0.6},
        {"similarity_after": 0.5995},
        {"folding_percent": 5.0},
        {"stretch_low": 0.05},
        {"stretch_high": 20.0},
        {"mean_displacement_mm": 200.0},
    ],
    ids=str,
)
def test_plausible_fields(change):
    assert find_implausible({"a": GOOD, "b": replace(GOOD, **change)}) == {}


def cohort(*similarities) -> dict[str, FieldQuality]:
    return {f"pt_{i}": replace(GOOD, similarity_before=0.0, similarity_after=s) for i, s in enumerate(similarities)}


def test_outliers_on_the_bad_side_only():
    spread = [0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92]  # MAD 0.04 with a further one at either end
    assert list(find_implausible(cohort(*spread, 0.55))) == ["pt_7"]
    assert "correlation 0.550, median 0.850" in find_implausible(cohort(*spread, 0.55))["pt_7"]
    assert find_implausible(cohort(*spread, 0.70)) == {} == find_implausible(cohort(*spread, 1.0))
    assert find_implausible(cohort(*spread[1:], 0.1)) == {}  # seven are too few


def test_a_uniform_cohort_has_a_floor():
    assert find_implausible(cohort(*[0.9] * 9, 0.83)) == {}
    assert list(find_implausible(cohort(*[0.9] * 9, 0.81))) == ["pt_9"]


def test_fields_excluded_for_themselves_do_not_count_for_the_spread():
    bad = replace(GOOD, similarity_after=0.1, folding_percent=50.0)
    others = cohort(*[0.9] * 8, 0.7)
    assert list(find_implausible(others | {f"bad_{i}": bad for i in range(20)})) == ["pt_8"] + [
        f"bad_{i}" for i in range(20)
    ]
    assert list(find_implausible(dict(list(others.items())[2:]) | {"bad": bad})) == ["bad"]  # seven are left: too few


@pytest.mark.parametrize("seed", range(20))
def test_outliers_are_never_half(seed):
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.uniform(0.1, 0.5, seed), generator.uniform(0.85, 0.9, 20)])
    excluded = find_implausible(cohort(*values))
    assert len(excluded) < len(values) / 2 and all(
        float(v) < 0.85 for n, v in zip(cohort(*values), values, strict=True) if n in excluded
    )
    if seed < 10:
        assert len(excluded) == seed
