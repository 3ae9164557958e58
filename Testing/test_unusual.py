"""Which scans are unlike the others: the limits, in cohorts of invented facts."""

from dataclasses import replace

import pytest

from cohort_samples import USUAL, make_facts
from SlicRegLib.cohort.facts import Cohort
from SlicRegLib.cohort.unusual import HARMLESS, find_unusual


def judge(*scans, template=None) -> dict[str, list[str]]:
    cohort = Cohort(template or make_facts("template"), list(scans))
    return {scan.name: scan.unusual for scan in find_unusual(cohort).scans}


@pytest.mark.parametrize(
    "within, beyond, sentence",
    [
        (dict(edge=5.9), dict(edge=6.1), "Voxels of 6.1 mm along S; the median is 3 mm."),
        (dict(edge=1.52), dict(edge=1.48), "Voxels of 1.48 mm along S; the median is 3 mm."),
        (dict(length=331), dict(length=329), "The body is 329 mm long; the median is 400 mm."),
        (dict(length=469), dict(length=471, litres=30), "The body is 471 mm long; the median is 400 mm."),
        (dict(litres=26.9), dict(litres=27.1), "The body has 27.1 litres; the median is 20 litres."),
        (dict(hu=2), dict(hu=3), "The body has a mean of 3 HU; the median is -50 HU."),
        (
            dict(length=201),
            dict(length=199, litres=9),
            "Short field of view: 199 mm of the body; the template shows 400 mm.",
        ),
    ],
)
def test_limits_in_a_uniform_cohort(within, beyond, sentence):
    """The floors: without any spread, a difference of 3.5 floors is not reported and a larger one is."""
    assert sentence not in judge(*USUAL, make_facts("odd", **within))["odd"]
    found = judge(*USUAL, make_facts("odd", **beyond))
    assert found.pop("odd") == [sentence] and not any(found.values())


def test_the_limit_in_a_cohort_with_spread():
    """Distances from the median, -50 HU: 0, 10, 10, ... 40, 40, 155, 156. Their median is 30: the limit is 155.7."""
    spread = [make_facts(f"pt_{i}", hu=-50 + 10 * k) for i, k in enumerate(range(-4, 5))]
    found = judge(*spread, make_facts("low", hu=-50 - 155), make_facts("high", hu=-50 + 156))
    assert found.pop("high") == ["The body has a mean of 106 HU; the median is -50 HU."] and not any(found.values())


def test_axes_are_compared_with_the_same_axes():
    """An array whose first axis is S has the same voxels in another order."""
    other = replace(make_facts("sagittal", orientation="SPL"), spacing_mm=(3.0, 1.0, 1.0))
    assert judge(*USUAL, other)["sagittal"] == [f"Stored as SPL, most scans as LPS. {HARMLESS}"]


def test_few_scans_are_only_compared_with_the_template():
    odd = make_facts("odd", edge=9, length=150, litres=2, hu=900, orientation="RAS")
    short = "Short field of view: 150 mm of the body; the template shows 400 mm."
    assert judge(*USUAL[:3], odd) == {"pt_0": [], "pt_1": [], "pt_2": [], "odd": [short]}
    not_counted = [replace(make_facts("again"), fingerprint="pt_0"), make_facts("lost", problem="Lost.")]
    assert judge(*USUAL[:3], odd, *not_counted)["odd"] == [short]
    assert len(judge(*USUAL[:4], odd)["odd"]) == 4
