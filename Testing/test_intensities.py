"""Statistics of a scan's values by known answers, and the limits of the judgement in HU from both sides."""

import numpy as np
import pytest

from SlicRegLib.images.hounsfield import Judgement, judge_intensities
from SlicRegLib.images.intensities import (
    IntensitySample,
    find_densest,
    find_problem,
    has_air_and_body,
    measure_roughness,
    resembles_ct,
    sample_values,
)

NOISE = np.random.default_rng(0).normal(40, 10, (20, 20, 20))


def make_sample(tissues, edges=((-1000, 1),)) -> IntensitySample:
    """Of two lists of (HU, number of voxels) or ((from, to), number): the scan, and the edges of its box beside it."""

    def spread(parts):
        return np.concatenate([np.linspace(*(hu if isinstance(hu, tuple) else (hu, hu)), n) for hu, n in parts])

    outer, inner = spread(edges), spread(tissues)
    values = np.concatenate([outer, inner])[:, None, None]
    return IntensitySample(values, np.arange(len(values))[:, None, None] < len(outer))


# --- statistics ---


def test_shares_of_a_scan_with_each_value_once():
    sample = make_sample([((-1299, 1300), 2600)], [(-1300, 1)])
    body = 1600  # from -299 to 1300
    assert len(sample.body) == body and sample.body_share == body / 2601
    assert sample.air == 251 / 2601  # -1100 to -850
    assert sample.between == 350 / body  # -699 to -350
    assert sample.below == 50 / body  # -1300 to -1251
    assert sample.core == 451 / body and sample.fat == 171 / body  # -200 to 250, -200 to -30
    assert sample.negative == 195 / 2601  # -199 to -5
    assert sample.bone == 450 / body and sample.hump == 399 / body  # 301 to 750, 851 to 1249
    assert (sample.lowest, sample.lowest_share, sample.zeros) == (-1300, 1 / 2601, 0)
    assert not sample.has_air_and_fat


@pytest.mark.parametrize(
    "padding, count, others, left_out",
    [(-1100, 3, 5997, True), (-1100, 2, 5998, False), (-1099, 3, 5997, False), (-32768, 5, 9995, True),
     (-32768, 4, 9996, False)],
)  # fmt: skip
def test_padding_is_left_out(padding, count, others, left_out):
    sample = make_sample([(padding, count), ((-900.0, 500.0), others - 1)])
    assert len(sample.values) == others + (0 if left_out else count)
    assert sample.lowest == (-1000 if left_out else padding)


def test_padding_alone():
    sample = make_sample([(-2000, 99)], [(-2000, 1)])
    assert (len(sample.values), sample.lowest, sample.body_share, sample.air, sample.core) == (0, 0, 0, 0, 0)
    assert find_problem(sample, NOISE) == ""


@pytest.mark.parametrize("air, fat, both", [(60, 10, True), (49, 10, False), (60, 1, False)])
def test_air_and_fat(air, fat, both):
    tissues = [(-900, air - 1), (-100, fat), (300, 100 - air - fat)]
    assert make_sample(tissues).has_air_and_fat is both


def test_zeros_are_counted_where_they_stand_out():
    beside = [((-5, -1), 50), ((1, 5), 50), (6, 100), (-6, 100)]  # ten voxels of each value from -5 to 5
    assert make_sample([(0, 201), *beside]).zeros == 201 / 502
    assert make_sample([(0, 200), *beside]).zeros == 0


def test_statistics_of_the_edges():
    sample = make_sample([(40, 100)], [(-1000, 40), ((-999, -941), 30), (-940, 20), (700, 10)])
    assert (sample.edge, sample.edge_share) == (-1000, 0.4)
    assert (sample.edge_median, sample.edge_narrow) == (-980, 0.9)
    assert make_sample([(40, 100)], [(-1000, 60), (-940, 40)]).edge_narrow == 0.6  # 60 HU away is outside


def test_the_sampled_planes_include_the_outermost():
    values, ends = sample_values(np.arange(100 * 61 * 9).reshape(100, 61, 9))
    assert values.shape == (60, 60, 9)
    assert (values[0, 0, 0], values[-1, -1, -1]) == (0, 100 * 61 * 9 - 1)
    assert ends.sum() == 4 * (58 + 58 + 7) + 8  # twelve edges and their corners
    assert ends[0, 0].all() and ends[-1, :, 0].all() and ends[:, -1, -1].all() and not ends[0, 1:-1, 1:-1].any()


def test_the_densest_window():
    values = np.array([30.0, 0, 13, 1, 12, 2, 11, 10])
    assert find_densest(values, 3) == (0.5, 11.5)  # 10 to 13, both ends included
    assert find_densest(values, 2.9) == (3 / 8, pytest.approx(1.45))
    assert find_densest(values[:0], 3) == (0, 0)


def test_roughness():
    ramp = np.arange(60.0)[:, None, None] + np.zeros((60, 12, 10))
    assert measure_roughness(ramp) == 0 and measure_roughness(0 * ramp) == 1
    for axis in range(3):
        comb = np.moveaxis((np.arange(60) % 2 * 10.0)[:, None, None] + np.zeros((60, 12, 10)), 0, axis)
        assert measure_roughness(comb) == 2
    ramp[:10] = ramp[50:] = np.random.default_rng(0).normal(0, 500, (10, 12, 10))
    assert measure_roughness(ramp) == 0  # the middle 40 count
    ramp[10] = ramp[49] = 1e4
    ramp[11::2] += 5
    assert 0.2 < measure_roughness(ramp) < 0.5


# --- what is not in HU ---

BODY = [((-120, -80), 300), ((0, 90), 600), ((310, 700), 30)]
AIR = ((-1010, -990), 1000)
INSIDE = [((-110, -90), 200), ((30, 60), 800)]
LIMITS = {
    "19 voxels of a body": ([AIR, (700, 19)], "", {}),
    "20 voxels of a body": ([AIR, (700, 20)], "tissue", {}),
    "zeros, 11 %": ([*BODY, ((-1010, -990), 500), (0, 178)], "zeros", {}),
    "zeros, 9 %": ([*BODY, ((-1010, -990), 500), (0, 140)], "", {}),
    "zeros beside few tissues": ([AIR, (0, 500), ((10, 90), 15), ((300, 800), 1200)], "", {}),
    "zeros beside tissues": ([(0, 500), ((-90, 90), 60), ((300, 800), 1200)], "zeros", {}),
    "zeros beside nothing negative": ([(0, 500), ((10, 90), 1000)], "", {}),
    "edges at -849": ([*BODY, AIR], "outside", {-849: 60, -1000: 40}),
    "edges at -850": ([*BODY, AIR], "", {-850: 60, -1000: 40}),
    "edges at -151": ([*BODY, AIR], "outside", {-151: 60, -1000: 40}),
    "edges at -150": ([*BODY, AIR], "", {-150: 60, -1000: 40}),
    "edges at 150": ([*BODY, AIR], "", {150: 60, -1000: 40}),
    "edges at 151": ([*BODY, AIR], "outside", {151: 60, -1000: 40}),
    "edges at 0": ([*BODY, AIR], "outside", {0: 60, -1000: 40}),
    "half of the edges at 0": ([*BODY, AIR], "", {0: 49, -1000: 51}),
    "cut at -849": ([*BODY, ((-848, -700), 1000), (-849, 65)], "cut", {-800: 1, -750: 1}),
    "cut at -850": ([*BODY, ((-848, -700), 1000), (-850, 65)], "", {-800: 1, -750: 1}),
    "few of the lowest value": ([*BODY, ((-848, -700), 1000), (-849, 54)], "", {-800: 1, -750: 1}),
    "hump at 1000": ([*BODY, ((860, 1240), 200), ((-1010, -990), 900)], "hump", {}),
    "hump at 1000, air and fat": ([*BODY, ((860, 1240), 200), ((-1010, -990), 1200)], "", {}),
    "hump of 2 %": ([((-120, 90), 960), ((860, 1240), 20), ((-1010, -990), 900)], "", {}),
    "hump of 4 %": ([((-120, 90), 960), ((860, 1240), 40), ((-1010, -990), 900)], "hump", {}),
    "hump beside bone": ([((-120, 90), 800), ((310, 740), 60), ((860, 1240), 170), ((-1010, -990), 800)], "", {}),
    "tissue, 19 %": ([AIR, ((-100, 100), 190), ((260, 800), 810)], "tissue", {}),
    "tissue, 21 %": ([AIR, ((-100, 100), 210), ((260, 800), 790)], "", {}),
    "tissue without air, 49 %": ([((-100, 100), 490), ((260, 800), 510)], "tissue", {40: 1}),
    "tissue without air, 51 %": ([((-100, 100), 510), ((260, 800), 490)], "", {40: 1}),
    "air, 1.9 %, tissue, 40 %": ([((-1010, -990), 19), ((-100, 100), 400), ((260, 800), 580)], "tissue", {40: 1}),
    "air, 2.1 %, tissue, 40 %": ([((-1010, -990), 21), ((-100, 100), 400), ((260, 800), 580)], "", {40: 1}),
    "floor at -160": ([((-164, -157), 130), ((-150, -35), 70), ((10, 100), 800)], "cut", {40: 1}),
    "half a floor": ([((-164, -157), 110), ((-150, -35), 90), ((10, 100), 800)], "", {40: 1}),
    "a floor of 9 % of the voxels": ([((-164, -157), 80), ((-150, -35), 10), ((10, 100), 910)], "", {40: 1}),
    "edges around -645": ([*INSIDE], "outside", {(-665, -625): 9}),
    "edges around -655": ([*INSIDE], "", {(-675, -635): 9}),
    "edges around -205": ([*INSIDE], "outside", {(-225, -185): 9}),
    "edges around -195": ([*INSIDE], "", {(-215, -175): 9}),
    "scattered edges": ([*INSIDE], "", {(-700, -600): 5, (0, 90): 4}),
    "dark fat": ([((-1700, -1260), 21), ((-200, -170), 200), ((0, 100), 800)], "factor", {40: 1}),
    "dark fat, no values below": ([((-1700, -1260), 19), ((-200, -170), 200), ((0, 100), 800)], "", {40: 1}),
    "fat in its place": ([((-1700, -1260), 30), ((-170, -130), 200), ((0, 100), 800)], "", {40: 1}),
    "no fat, 1 to 170": ([((1, 170), 1000)], "positive", {40: 1}),
    "no fat, 1 to 160": ([((1, 160), 1000)], "", {40: 1}),
    "no fat, 100 to 260": ([((150, 256), 1000)], "positive", {140: 1}),
    "no fat, 100 to 250": ([((150, 249), 1000)], "", {140: 1}),
    "fat, 1 to 170": ([((1, 170), 989), ((-199, -30), 11)], "", {40: 1}),
    "a few negative values, 1 to 170": ([((1, 170), 996), ((-29, -6), 4)], "", {40: 1}),
    "very few negative values, 1 to 170": ([((1, 170), 998), ((-29, -6), 2)], "positive", {40: 1}),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_hounsfield_units(name):
    tissues, problem, edges = LIMITS[name]
    assert find_problem(make_sample(tissues, list(edges.items()) or [(-1000, 1)]), NOISE) == problem


def test_a_map_without_noise_is_no_inside_of_a_body():
    sample, comb = make_sample(INSIDE, [(40, 1)]), (np.arange(20) % 2)[:, None, None]
    ramp = np.linspace(0, 100, 20)[:, None, None] + np.zeros((20, 9, 9))  # 80 HU from 10 to 90 % of its voxels
    for height, problem in ((0, "smooth"), (5.6, "smooth"), (6.6, "")):  # 12 / 80 is the limit
        assert find_problem(sample, ramp + height * comb) == problem
    assert find_problem(sample, NOISE) == ""


# --- what is certain ---

CERTAIN = {-1000: 40000, -500: 500, -90: 2500, -50: 1000, -30: 1000, -10: 1000, 50: 4000, 130: 400, 400: 400}
"""HU -> voxels: fat and soft tissue, apart from each other by the valley between -60 and 0."""
CHANGES = {  # other numbers -> whether it may be a CT, whether that is certain
    "as it is": ({}, True, True),
    "air, 2.2 %": ({-1000: 240}, True, True),
    "air, 1.8 %": ({-1000: 190}, False, False),
    "a body of 0.32 %": ({-1000: 3_200_000}, True, True),
    "a body of 0.28 %": ({-1000: 3_700_000}, False, False),
    "tissue, 55 %": ({800: 7600}, True, True),
    "tissue, 45 %": ({800: 11600}, False, False),
    "hump of 2.9 %": ({1000: 305}, True, True),
    "hump below bone": ({1000: 390}, True, True),
    "hump above bone": ({1000: 450}, False, False),
    "between, 19 %": ({-500: 1950}, True, True),
    "between, 21 %": ({-500: 2170}, False, False),
    "bone, 0.32 %": ({400: 33}, True, True),
    "bone, 0.28 %": ({400: 27}, False, False),
    "bone, 19 %": ({400: 2300}, True, True),
    "bone, 21 %": ({400: 2650}, False, False),
    "fat, 5.8 %": ({-90: 170, -50: 100, -30: 280, -10: 100, 50: 8500}, True, False),
    "fat, 6.2 %": ({-90: 200, -50: 100, -30: 370, -10: 100, 50: 8500}, True, True),
    "fat beside the valley, 0.62": ({-90: 620}, True, True),
    "fat beside the valley, 0.58": ({-90: 580}, True, False),
    "soft tissue beside the valley, 1.32": ({50: 1320}, True, True),
    "soft tissue beside the valley, 1.28": ({50: 1280}, True, False),
    "no valley at -50": ({-50: 9000}, True, True),
    "no valley at -30": ({-30: 9000}, True, True),
    "no valley at -10": ({-10: 9000}, True, True),
    "fat at -155": ({-90: 0, -155: 2500}, True, True),
    "fat at -65": ({-90: 0, -65: 2500}, True, True),
    "fat at -170": ({-90: 0, -170: 2500}, True, False),
    "soft tissue at 5": ({50: 0, 5: 4000}, True, True),
    "soft tissue at 115": ({50: 0, 115: 4000}, True, True),
    "soft tissue at 125": ({50: 0, 125: 4000}, True, False),
    "soft tissue at 155 also": ({155: 3300}, True, False),
    "above soft tissue, 0.78": ({130: 3120}, True, True),
    "above soft tissue, 0.82": ({130: 3280}, True, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_limits_of_what_is_certain(name):
    changes, possible, certain = CHANGES[name]
    sample = make_sample(list((CERTAIN | changes).items()))
    assert resembles_ct(sample) is possible and has_air_and_body(sample) is certain


@pytest.mark.parametrize("edge, wide, possible", [(-849, 0, False), (-851, 0, True), (-700, 500, True)])
def test_air_at_the_edges_is_below_minus_850(edge, wide, possible):
    sample = make_sample(list(CERTAIN.items()), [((edge - wide, edge + wide), 99)])
    assert resembles_ct(sample) is possible


# --- the judgement ---


def box(air: float, noise: float = 10.0) -> np.ndarray:
    """A body in air that has this value."""
    scan = np.random.default_rng(0).normal(air, noise, (20, 20, 20)).astype(np.float32)
    scan[4:16, 4:16, 4:16] = NOISE[:12, :12, :12]
    scan[5:7, 5:15, 5:15] -= 140
    return scan


@pytest.mark.parametrize("air, noted", [(-935, False), (-925, True), (-655, True)])
def test_air_that_is_noted(air, noted):
    judgement = judge_intensities(box(air))
    assert not judgement.refusal and not judgement.corrected
    assert ("instead of -1000; are its values calibrated?" in judgement.note) == bool(judgement.note) == noted


def test_scattered_edges_are_not_noted_and_high_air_is_refused():
    assert judge_intensities(box(-800, 200)) == Judgement()
    assert judge_intensities(box(-640)).refusal


@pytest.mark.parametrize("low, high, refused", [(-22, 22, True), (-22, 24, False), (-120, -80, False)])
def test_a_narrow_range(low, high, refused):
    values = np.random.default_rng(0).uniform(low, high, (20, 20, 20)).round().astype(np.float32)
    values[0, 0, :2] = low, high
    assert bool(judge_intensities(values).refusal) == refused


def test_unsigned_values_are_negative_from_32768():
    stored = np.array([0, 32767, 32768, 65535], np.float32)
    assert Judgement(wrapped=True).correct(stored).tolist() == [0, 32767, -32768, -1]
    assert Judgement(offset=1024).correct(stored).tolist() == [-1024, 31743, 31744, 64511]
    assert Judgement().correct(stored) is stored
