"""Growth of known amounts, and who is unusual among known patients."""

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.registration.growth import (
    LEAST_DETERMINANT,
    LEAST_DEVIATION,
    LEAST_SCANS,
    compare_growth,
    measure_growth,
    summarise_growth,
)

GRID = Grid.centred((10.0, -20.0, 30.0), (20, 18, 22), 8.0)
ALL = torch.ones(GRID.shape, dtype=torch.bool)
CENTRE = torch.as_tensor(GRID.centre, dtype=torch.float32)


def scaling(factor: float) -> DisplacementField:
    return DisplacementField(((factor - 1) * (GRID.points() - CENTRE)).movedim(-1, 0).contiguous(), GRID)


def swelling(amount: float) -> DisplacementField:
    """An organ at the centre, some 25 mm in radius, larger by ``amount`` along each axis."""
    offset = GRID.points() - CENTRE
    strength = amount * torch.exp(-offset.square().sum(-1, keepdim=True) / (2 * 25.0**2))
    return DisplacementField((strength * offset).movedim(-1, 0).contiguous(), GRID)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_growth_is_the_logarithm_of_the_volume(factor):
    np.testing.assert_allclose(measure_growth(scaling(factor), GRID), 3 * np.log(factor), atol=1e-4)


def test_growth_of_a_fold_is_finite():
    assert float(measure_growth(scaling(-1.0), GRID).max()) == pytest.approx(np.log(LEAST_DETERMINANT))


def cohort(factors, shown=ALL):
    return summarise_growth(GRID, [(scaling(factor), shown) for factor in factors])


def test_mean_and_deviation_are_those_of_the_cohort():
    factors = np.linspace(0.8, 1.25, LEAST_SCANS + 4)
    growth = cohort(factors.tolist())
    logs = 3 * np.log(factors)
    np.testing.assert_allclose(growth.mean, logs.mean(), atol=1e-4)
    np.testing.assert_allclose(growth.deviation, logs.std(ddof=1), atol=1e-4)
    z = compare_growth(growth, scaling(1.25))
    np.testing.assert_allclose(z.data, (logs[-1] - logs.mean()) / logs.std(ddof=1), atol=1e-3)


def test_a_cohort_of_equals_makes_no_patient_unusual_for_nothing():
    growth = cohort([1.0] * LEAST_SCANS)
    assert (growth.deviation == np.float32(LEAST_DEVIATION)).all()
    assert not compare_growth(growth, identity_field(GRID)).data.any()


def test_where_few_scans_show_the_place_nobody_is_unusual():
    part = ALL.clone()
    part[:, :, 12:] = False
    growth = summarise_growth(GRID, [(scaling(1.0), ALL if n else part) for n in range(LEAST_SCANS)])
    z = compare_growth(growth, scaling(1.5)).data
    assert (z[:, :, :12] > 3).all() and not z[:, :, 12:].any()


def test_an_enlarged_organ_is_found_where_it_is():
    rng = np.random.default_rng(0)
    usual = summarise_growth(GRID, [(swelling(float(a)), ALL) for a in rng.normal(0, 0.03, 20)])
    patient = compare_growth(usual, swelling(0.3))
    peak = np.unravel_index(patient.data.argmax(), GRID.shape)
    assert np.linalg.norm(GRID.to_world(np.array(peak, float)) - GRID.centre) < 25 and patient.data.max() > 4
    assert np.abs(compare_growth(usual, swelling(0.03)).data).max() < 2.5
    assert compare_growth(usual, swelling(-0.3)).data[peak] < -4
