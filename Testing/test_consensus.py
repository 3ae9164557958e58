"""The consensus of a cohort's labels: where its organs lie on any grid, and what a file may say of them."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.archive import ArchiveError
from SlicRegLib.registration.consensus import Consensus, pack_consensus, unpack_consensus
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.model_header import read_model
from SlicRegLib.registration.organs import PERCENTILES, Organ, describe_organs
from test_model import FRAME, make
from test_model_parts import about, arrays, change
from tiny import field_of

VOLUMES = tuple(float(10 + n) for n in range(len(PERCENTILES)))


def make_organ(value: int = 1, shares: np.ndarray | None = None, first=(2, 3, 4), **changes) -> Organ:
    if shares is None:
        shares = np.full((3, 4, 5), 200, np.uint8)
    content = dict(
        value=value, name=f"organ {value}", shares=shares, first=first, threshold=0.4, raters=9, agreement=0.8
    )
    return Organ(**{**content, **changes})


def ball(grid: Grid, centre, inner_mm: float, outer_mm: float) -> np.ndarray:
    """Shares that fall linearly from 1 at ``inner_mm`` to 0 at ``outer_mm`` from a world point."""
    distance = np.linalg.norm(grid.points().numpy() - np.asarray(centre), axis=-1)
    shares = np.clip((outer_mm - distance) / (outer_mm - inner_mm), 0, 1)
    return np.round(255 * shares).astype(np.uint8)


def two_balls(grid: Grid, thresholds=(0.5, 0.5)) -> Consensus:
    """Two balls whose votes fall over 20 mm and overlap between them, at -15 and +15 mm of the grid's middle."""
    low, high = grid.centre - [15, 0, 0], grid.centre + [15, 0, 0]
    organs = (
        make_organ(4, ball(grid, low, 5, 25), (0, 0, 0), threshold=thresholds[0]),
        make_organ(9, ball(grid, high, 5, 25), (0, 0, 0), threshold=thresholds[1]),
    )
    return Consensus(grid, organs)


GRID = Grid.centred((3.0, -20.0, 100.0), (60, 40, 40), 2.0)


# ---- on other grids


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.25, 0.5), (0.2, 0.6), (0.6, 0.3)])
def test_of_overlapping_organs_the_one_that_exceeds_its_threshold_by_more_wins(thresholds):
    """By the definition, voxel by voxel; where both are equal, neither is preferred by their order alone."""
    found = two_balls(GRID, thresholds).labels.data
    a, b = (organ.shares / 255 / threshold for organ, threshold in zip(two_balls(GRID).organs, thresholds, strict=True))
    clear = (np.abs(a - b) > 1e-4) & (np.abs(a - 1) > 1e-4) & (np.abs(b - 1) > 1e-4)
    expected = np.where(np.maximum(a, b) < 1, 0, np.where(a > b, 4, 9))
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert {0, 4, 9} == set(np.unique(found)) and found.dtype == np.uint8


def test_a_lower_threshold_gives_the_larger_organ_with_the_known_radius():
    """Votes fall from 1 at 5 mm to 0 at 25 mm: the share 0.25 lies at 20 mm, 0.5 at 15 mm."""
    for threshold, radius in ((0.25, 20.0), (0.5, 15.0), (0.75, 10.0)):
        organ = make_organ(1, ball(GRID, GRID.centre, 5, 25), (0, 0, 0), threshold=threshold)
        volume = Consensus(GRID, (organ,)).on(GRID.halved()).data.sum()  # voxels of 1 mm
        assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)


def test_the_volume_is_the_same_on_finer_coarser_and_turned_grids(oblique):
    expected = 4 / 3 * np.pi * 15.0**3
    turned = oblique((70, 70, 70))
    affine = turned.affine.copy()
    affine[:3, 3] += GRID.centre - [15, 0, 0] - turned.centre
    for grid in (GRID, GRID.halved(), Grid.centred(GRID.centre, (50, 40, 40), 3.1), Grid(turned.shape, affine)):
        found = two_balls(GRID, (0.5, 0.99)).on(grid).data
        assert (found == 4).sum() * float(np.prod(grid.spacing)) == pytest.approx(expected, rel=0.05)


def test_through_a_field_the_organs_lie_where_it_leads():
    shift = torch.tensor([10.0, -6.0, 4.0])
    consensus = two_balls(GRID)
    moved = consensus.on(GRID, field_of(GRID, lambda points: shift.expand_as(points)))
    steps = [-5, 3, -2]  # a voxel p shows what lies at p + shift
    np.testing.assert_array_equal(moved.data, np.roll(consensus.labels.data, steps, (0, 1, 2)))
    assert (moved.data == 4).any()


def test_outside_the_consensus_there_is_nothing():
    consensus = Consensus(GRID, (make_organ(1, np.full(GRID.shape, 255, np.uint8), (0, 0, 0)),))
    far = Grid.centred(GRID.centre + [500, 0, 0], (20, 20, 20), 2.0)
    assert not consensus.on(far).data.any()
    wide = consensus.on(Grid.centred(GRID.centre, (80, 60, 60), 2.0)).data
    assert (wide[10:-10, 10:-10, 10:-10] == 1).all() and wide.sum() == np.prod(GRID.shape)


def test_a_share_at_or_below_the_threshold_is_background():
    for share, expected in ((101, 0), (102, 0), (103, 1)):  # 0.4 is 102 of 255
        consensus = Consensus(GRID, (make_organ(1, np.full((5, 5, 5), share, np.uint8)),))
        assert consensus.labels.data.max() == expected


def test_values_above_255_and_many_organs():
    organs = tuple(make_organ(250 + n, first=(5 * (n % 10), 5 * (n // 10), 3)) for n in range(50))
    found = Consensus(GRID, organs).labels.data
    assert found.dtype == np.uint16 and np.unique(found).tolist() == [0, *range(250, 300)]
    assert (np.bincount(found.ravel())[250:] == 3 * 4 * 5).all()


def test_the_percentile_of_a_volume():
    organ = make_organ(volumes_ml=VOLUMES)
    assert [organ.percentile(ml) for ml in (10, 12.5, 30, 5, 99)] == [5, 17.5, 95, 5, 95]
    assert make_organ().percentile(12) is None
    assert make_organ(volumes_ml=(12.0,) * len(PERCENTILES)).percentile(12) is None  # of one patient


# ---- in files


def sample() -> Consensus:
    """On the halved frame of `test_model.make`."""
    rng = np.random.default_rng(3)
    return Consensus(
        FRAME.halved(),
        (
            make_organ(2, rng.integers(0, 256, (3, 4, 5), np.uint8), (0, 0, 0), volumes_ml=VOLUMES, colour=(0, 7, 255)),
            make_organ(700, rng.integers(0, 256, (6, 5, 9), np.uint8), (26, 27, 55), name="Ösophagus, 食道"),
        ),
    )


def test_what_goes_in_comes_out():
    given = sample()
    organs = json.loads(json.dumps(describe_organs(given.organs)))
    back = unpack_consensus(pack_consensus(given), organs)
    assert back.grid.matches(given.grid, 1e-9)
    for a, b in zip(given.organs, back.organs, strict=True):
        for name in ("value", "name", "first", "threshold", "raters", "agreement", "volumes_ml", "colour"):
            assert getattr(a, name) == getattr(b, name)
        np.testing.assert_array_equal(a.shares, b.shares)
        assert b.shares.dtype == np.uint8
    np.testing.assert_array_equal(back.labels.data, given.labels.data)


def test_in_a_model(tmp_path):
    save_model(tmp_path / "m.slicreg", make(consensus=sample()))
    back = load_model(tmp_path / "m.slicreg")
    assert describe_organs(back.consensus.organs) == describe_organs(sample().organs) == back.summary()["organs"]
    np.testing.assert_array_equal(back.consensus.labels.data, sample().labels.data)
    assert back.atlas is None and back.own_template is None
    assert "\nOrgans: organ 2, Ösophagus, 食道\n" in read_model(tmp_path / "m.slicreg").describe()


def test_only_models_that_need_it_have_the_newer_version(tmp_path):
    """So that an older SlicReg reads the others."""
    for expected, model in ((1, make()), (2, make(consensus=sample()))):
        save_model(tmp_path / "m.slicreg", model)
        with zipfile.ZipFile(tmp_path / "m.slicreg") as archive:
            assert json.loads(archive.read("bundle.json"))["version"] == expected


def organ(**changes):
    """An edit of the first organ in bundle.json; None removes the entry."""

    def edit(content: dict) -> bytes:
        entry = {**content["organs"][0], **changes}
        content["organs"][0] = {key: value for key, value in entry.items() if value is not ...}
        return json.dumps(content).encode()

    return edit


def set_to(*values):
    return lambda array: np.array(values, array.dtype)


DESCRIPTION, SIZE, OUTSIDE = "description of its organs is damaged", "have a wrong type or size", "outside its grid"
HUGE = 2**31 - 1
ORGAN = {
    "no value": {"value": ...},
    "value 0": {"value": 0},
    "a negative value": {"value": -1},
    "a value too large": {"value": 65536},
    "a fraction as value": {"value": 1.5},
    "a text as value": {"value": "1"},
    "true as value": {"value": True},
    "no name": {"name": ...},
    "an empty name": {"name": ""},
    "a number as name": {"name": 5},
    "a long name": {"name": "x" * 10_000},
    "a name of two lines": {"name": "a\nb"},
    "a name that colours the terminal": {"name": "\x1b[31mred"},
    "a name that is turned round": {"name": "a\u202eb"},
    "no threshold": {"threshold": ...},
    "threshold 0": {"threshold": 0},
    "threshold 1": {"threshold": 1},
    "a tiny threshold": {"threshold": 1e-300},
    "a text as threshold": {"threshold": "0.4"},
    "nothing as threshold": {"threshold": None},
    "no raters": {"raters": 0},
    "fractions of raters": {"raters": 1.5},
    "too much agreement": {"agreement": 1.1},
    "not a number as agreement": {"agreement": "nan"},
    "one volume": {"volumes_ml": [1.0]},
    "volumes that fall": {"volumes_ml": VOLUMES[::-1]},
    "negative volumes": {"volumes_ml": [-1.0, *VOLUMES[1:]]},
    "endless volumes": {"volumes_ml": [*VOLUMES[1:], "inf"]},
    "no list of volumes": {"volumes_ml": None},
    "volumes as text": {"volumes_ml": "x" * len(PERCENTILES)},
    "a colour of two": {"colour": [1, 2]},
    "a colour of four": {"colour": [1, 2, 3, 4]},
    "a colour too bright": {"colour": [1, 2, 256]},
    "a colour of texts": {"colour": ["r", "g", "b"]},
    "a colour that is a table": {"colour": {"r": 1, "g": 2, "b": 3}},
    "a colour that is a number": {"colour": 7},
}
HOSTILE = {
    **{name: ("bundle.json", organ(**changes), DESCRIPTION) for name, changes in ORGAN.items()},
    "the same value twice": ("bundle.json", organ(value=700), "two of its organs have one value"),
    "no organs": ("bundle.json", about(organs=[]), SIZE),
    "organs that are no list": ("bundle.json", about(organs=7), DESCRIPTION),
    "organs that are a text": ("bundle.json", about(organs="ab"), DESCRIPTION),
    "organs that are nothing": ("bundle.json", about(organs=None), DESCRIPTION),
    "an organ that is no table": ("bundle.json", about(organs=[1, 2]), DESCRIPTION),
    "one organ fewer": ("bundle.json", lambda c: json.dumps({**c, "organs": c["organs"][:1]}).encode(), SIZE),
    "one organ more": ("bundle.json", lambda c: json.dumps({**c, "organs": 3 * c["organs"]}).encode(), SIZE),
    "a huge grid": ("consensus.npz", arrays(shape=set_to(HUGE, HUGE, HUGE)), "wrong size"),
    "a grid of 10^9 voxels": ("consensus.npz", arrays(shape=set_to(1000, 1000, 1000)), "wrong size"),
    "a flat grid": ("consensus.npz", arrays(shape=set_to(32, 0, 64)), "wrong size"),
    "a negative grid": ("consensus.npz", arrays(shape=set_to(-32, -32, 64)), "wrong size"),
    "a grid of two axes": ("consensus.npz", arrays(shape=set_to(32, 32)), SIZE),
    "another grid": ("consensus.npz", arrays(shape=set_to(40, 40, 70)), "elsewhere than its supervoxels"),
    "a grid elsewhere": ("consensus.npz", arrays(affine=lambda a: a + np.eye(4, k=3) * 50), "elsewhere"),
    "a grid without volume": ("consensus.npz", arrays(affine=lambda a: a * [0, 1, 1, 1]), "no voxel-to-world"),
    "a grid that is nowhere": ("consensus.npz", arrays(affine=lambda a: a * np.nan), "not finite"),
    "boxes of floats": ("consensus.npz", arrays(boxes=lambda a: a.astype(float)), SIZE),
    "a negative box": ("consensus.npz", arrays(boxes=lambda a: a - 1), OUTSIDE),
    "an empty box": ("consensus.npz", arrays(boxes=lambda a: a * np.array([1, 1, 1, 0, 1, 1], np.int32)), OUTSIDE),
    "a box outside": ("consensus.npz", arrays(boxes=lambda a: a + np.array([30, 0, 0, 0, 0, 0], np.int32)), OUTSIDE),
    "a huge box": ("consensus.npz", arrays(boxes=lambda a: np.full_like(a, HUGE)), OUTSIDE),
    "smaller boxes": ("consensus.npz", arrays(boxes=lambda a: a - np.array([0, 0, 0, 1, 0, 0], np.int32)), SIZE),
    "shares cut off": ("consensus.npz", arrays(shares=lambda a: a[:-1]), SIZE),
    "shares of floats": ("consensus.npz", arrays(shares=lambda a: a / 255), SIZE),
    "shares in two rows": ("consensus.npz", arrays(shares=lambda a: a.reshape(2, -1)), SIZE),
    "no arrays": ("consensus.npz", lambda content: b"PK", "no archive"),
}  # fmt: skip


@pytest.mark.parametrize("part, edit, words", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_consensus_is_one_sentence(tmp_path, part, edit, words):
    path = tmp_path / "m.slicreg"
    save_model(path, make(consensus=sample()))
    change(path, part, edit)
    with pytest.raises(UserError, match=words) as error:
        load_model(path)
    assert str(error.value).startswith(f"The model {path} is corrupt") and str(error.value).isprintable()
    read_model(path).describe()  # the list of models says what it can


@pytest.mark.parametrize("name", ["a huge grid", "a grid of 10^9 voxels", "a huge box"])
def test_nothing_is_allocated_for_what_a_file_claims(tmp_path, name):
    path = tmp_path / "m.slicreg"
    save_model(path, make(consensus=sample()))
    change(path, *HOSTILE[name][:2])
    tracemalloc.start()
    try:
        with pytest.raises(UserError):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["affine", "shape", "shares", "boxes"])
def test_an_array_that_is_missing(name):
    content = pack_consensus(sample())
    del content[name]
    with pytest.raises(ArchiveError, match=f"it lacks {name}"):
        unpack_consensus(content, describe_organs(sample().organs))


def test_a_part_that_differs_from_its_sum_is_refused(tmp_path):
    path = tmp_path / "m.slicreg"
    save_model(path, make(consensus=sample()))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    shares = np.zeros_like(pack_consensus(sample())["shares"])
    np.savez_compressed(buffer, **{**pack_consensus(sample()), "shares": shares})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "consensus.npz": buffer.getvalue()}.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="SHA-256 sums differ"):
        load_model(path)
