"""The check of a cohort: each fault is planted once and found once, sound scans are left alone."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy.spatial.transform import Rotation
from tiny import phantom, write_cohort

from SlicRegLib.cohort import check, facts
from SlicRegLib.cohort.check import Cohort, check_cohort, load_cohort, save_cohort, summary
from SlicRegLib.cohort.cost import TrainingCost, estimate_cost
from SlicRegLib.cohort.facts import ScanFacts, measure_scan
from SlicRegLib.cohort.listing import list_cohort
from SlicRegLib.cohort.thumbnails import thumbnail
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.network.options import PRESETS

SOUND = ("pt_1", "pt_2", "pt_3", "pt_4", "pt_5")


def flipped(scan, axis=0):
    """The same voxels of the same world, the array running the other way along ``axis``."""
    affine = scan.grid.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (scan.data.shape[axis] - 1)
    affine[:, axis] *= -1
    return Volume(np.ascontiguousarray(np.flip(scan.data, axis)), Grid(scan.data.shape, affine))


def turned(scan):
    """The same world on an oblique grid around it."""
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_euler("xyz", (12, -8, 5), degrees=True).as_matrix()
    grid = Grid(
        scan.grid.shape, translation(scan.grid.centre) @ rotation @ translation(-scan.grid.centre) @ scan.grid.affine
    )
    return Volume(resample(scan.tensor, scan.grid, grid, fill=-1000.0)[0].numpy(), grid)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Five sound scans and their template; not to be written to."""
    return write_cohort(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture
def images(plain, tmp_path):
    """A copy of the five sound scans."""
    return shutil.copytree(plain / "img", tmp_path / "img")


@pytest.fixture(scope="module")
def faulty(plain, tmp_path_factory):
    """The sound scans and one of each fault; pt_1 is also stored flipped and oblique, which is no fault and no copy."""
    images = shutil.copytree(plain / "img", tmp_path_factory.mktemp("faulty") / "img")
    first, second = load_scan(images / "pt_1.nii.gz"), load_scan(images / "pt_2.nii.gz")
    shutil.copy(images / "pt_3.nii.gz", images / "zz_again.nii.gz")
    save_volume(images / "as_mha.mha", first)  # sorted before pt_1, of which it has the voxels
    shutil.copy(plain / "template.nii.gz", images / "like_template.nii.gz")
    (images / "broken.nii.gz").write_bytes((images / "pt_1.nii.gz").read_bytes()[:2000])
    save_volume(images / "flipped.nii.gz", flipped(first))
    save_volume(images / "oblique.nii.gz", turned(first))
    save_volume(images / "short.nii.gz", Volume(second.data[:, :, 20:44].copy(), second.grid))
    save_volume(images / "shifted_hu.nii.gz", Volume(phantom(6)[0].data + 1024, second.grid))
    return images


@pytest.fixture(scope="module")
def checked(plain, faulty):
    return check_cohort(plain / "template.nii.gz", faulty)


def test_each_fault_is_found_and_nothing_else(checked):
    cohort = checked
    assert [scan.name for scan in cohort.scans] == [
        "as_mha",
        "broken",
        "flipped",
        "like_template",
        "oblique",
        *SOUND,
        "shifted_hu",
        "short",
        "zz_again",
    ]
    assert {scan.name: scan.same_as for scan in cohort.scans if scan.same_as} == {
        "pt_1": "as_mha",
        "like_template": "template",
        "zz_again": "pt_3",
    }
    problems = {scan.name: scan.problem for scan in cohort.scans if scan.problem}
    assert list(problems) == ["broken"] and "broken.nii.gz cannot be read" in problems["broken"]
    assert cohort.usable == ["as_mha", "flipped", "oblique", *SOUND[1:], "shifted_hu", "short"]
    unusual = {scan.name: scan.unusual for scan in cohort.scans if scan.unusual}
    assert set(unusual) == {"flipped", "short", "shifted_hu"}
    assert unusual["flipped"] == ["Stored as LAS, most as RAS, which is harmless: every orientation is read right."]
    assert unusual["short"][0] == "Short field of view: 172 mm of the body, the template shows 424 mm."
    assert unusual["shifted_hu"][-1].startswith("The body's mean is ") and len(unusual["shifted_hu"]) <= 2


def test_a_sound_cohort_is_not_unusual(plain):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        cohort = check_cohort(plain / "template.nii.gz", plain / "img")
        assert torch.get_num_threads() == 3  # what follows in this process is not slowed down
    finally:
        torch.set_num_threads(threads)
    assert cohort.usable == list(SOUND)
    assert not any(scan.unusual or scan.same_as or scan.problem for scan in cohort.scans)


def test_processes_find_the_same(plain, faulty, checked):
    steps = []
    assert check_cohort(plain / "template.nii.gz", faulty, 2, lambda *step: steps.append(step)) == checked
    assert {stage for stage, _, _ in steps} == {"check"}
    assert [share for _, share, _ in steps] == [n / 13 for n in range(14)]
    assert {text.split(": ")[1] for _, _, text in steps[1:]} == {scan.name for scan in checked.scans}


def ellipsoid(grid, radii=(80.0, 60.0, 100.0), hu=50.0):
    inside = np.linalg.norm((grid.points().numpy() - grid.centre) / radii, axis=-1) < 1
    return Volume(np.where(inside, hu, -1000.0).astype(np.float32), grid)


def test_facts_of_a_known_body(tmp_path):
    """An ellipsoid of 160 x 120 x 200 mm and 50 HU with a piece of metal; the array runs to P, L and S."""
    affine = np.array([[0, -4.0, 0, 130], [-3.0, 0, 0, 110], [0, 0, 5.0, -150], [0, 0, 0, 1]])
    scan = ellipsoid(Grid((70, 60, 62), affine))
    scan.data[32:39, 27:32, 29:33] = 30000  # 8 of 2000 ml: the mean would be 170 HU
    save_volume(tmp_path / "a.nrrd", scan)
    facts = measure_scan(tmp_path / "a.nrrd")
    assert (facts.name, facts.path, facts.problem) == ("a", str(tmp_path / "a.nrrd"), "")
    assert (facts.shape, facts.spacing_mm, facts.orientation) == ((70, 60, 62), (3, 4, 5), "PLS")
    assert facts.extent_mm == (60 * 4, 70 * 3, 62 * 5) and facts.along(facts.spacing_mm) == [4, 3, 5]
    np.testing.assert_allclose(facts.body_extent_mm, (160, 120, 200), atol=10)
    assert facts.body_ml == pytest.approx(4 / 3 * np.pi * 80 * 60 * 100 / 1000, rel=0.05)
    assert facts.mean_hu == pytest.approx(50, abs=40)  # the edge is blurred into the air
    assert facts.fingerprint == scan.fingerprint()


def save_nan(path):
    scan = phantom(1)[0]
    save_volume(path, Volume(np.where(scan.data > 500, np.nan, scan.data).astype(np.float32), scan.grid))


def save_air(path):
    noise = np.random.default_rng(0).normal(-1000, 5, (30, 30, 30)).astype(np.float32)
    save_volume(path, Volume(noise, Grid(noise.shape, np.diag([5.0, 5, 5, 1]))))


def save_micrometres(path):
    scan = phantom(1)[0]
    save_volume(path, Volume(scan.data, Grid(scan.data.shape, np.diag([1000.0, 1000, 1000, 1]) @ scan.grid.affine)))


@pytest.mark.parametrize(
    "write, problem",
    [
        (save_nan, "NaN"),
        (save_air, "no soft tissue"),
        (save_micrometres, "420 m long"),
        (lambda path: path.mkdir(), "does not exist"),
    ],
)
def test_one_bad_scan_is_a_problem_and_no_error(tmp_path, write, problem):
    write(tmp_path / "bad.nii.gz")
    assert problem in measure_scan(tmp_path / "bad.nii.gz").problem


def test_a_scan_that_the_system_refuses(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "load_scan", refused)
    assert "secret.nii.gz cannot be read (Permission denied)" in measure_scan(tmp_path / "secret.nii.gz").problem


def facts(name, edge=3.0, length=400.0, litres=20.0, hu=-50.0, orientation="LPS", **more):
    return ScanFacts(
        name,
        f"/{name}.nii.gz",
        (100, 100, 100),
        (1.0, 1.0, edge),
        orientation,
        (100.0, 100.0, 100 * edge),
        (400.0, 250.0, length),
        litres * 1000,
        hu,
        name,
        **more,
    )


def judged(*scans, template=None):
    return {
        scan.name: scan.unusual
        for scan in check._find_unusual(Cohort(template or facts("template"), list(scans))).scans
    }


USUAL = [facts(f"pt_{i}") for i in range(6)]


@pytest.mark.parametrize(
    "within, beyond, sentence",
    [
        (dict(edge=5.9), dict(edge=6.1), "Voxels of 6.1 mm along S, usual are 3 mm."),
        (dict(edge=1.52), dict(edge=1.48), "Voxels of 1.48 mm along S, usual are 3 mm."),
        (dict(length=331), dict(length=329), "The body is 329 mm long, usual are 400 mm."),
        (dict(length=469), dict(length=471, litres=30), "The body is 471 mm long, usual are 400 mm."),
        (dict(litres=26.9), dict(litres=27.1), "The body has 27.1 litres, usual are 20 litres."),
        (dict(hu=2), dict(hu=3), "The body's mean is 3 HU, usual are -50 HU."),
        (
            dict(length=201),
            dict(length=199, litres=9),
            "Short field of view: 199 mm of the body, the template shows 400 mm.",
        ),
    ],
)
def test_limits_among_equals(within, beyond, sentence):
    """The floors: among scans without any spread, a difference of 3.5 floors is not said and a larger one is."""
    assert sentence not in judged(*USUAL, facts("odd", **within))["odd"]
    found = judged(*USUAL, facts("odd", **beyond))
    assert found.pop("odd") == [sentence] and not any(found.values())


def test_limit_where_the_cohort_is_spread():
    """Distances from the median, -50 HU: 0, 10, 10, ... 40, 40, 155, 156. Theirs is 30: the limit 3.5 * 1.4826 * 30 = 155.7."""
    spread = [facts(f"pt_{i}", hu=-50 + 10 * k) for i, k in enumerate(range(-4, 5))]
    found = judged(*spread, facts("low", hu=-50 - 155), facts("high", hu=-50 + 156))
    assert found.pop("high") == ["The body's mean is 106 HU, usual are -50 HU."] and not any(found.values())


def test_axes_are_compared_with_the_same_axes():
    """An array that runs along S first has the same voxels, in another order."""
    other = replace(facts("sagittal", orientation="SPL"), spacing_mm=(3.0, 1.0, 1.0))
    assert judged(*USUAL, other)["sagittal"] == [f"Stored as SPL, most as LPS, {facts.HARMLESS}."]


def test_few_scans_are_only_compared_with_the_template():
    odd = facts("odd", edge=9, length=150, litres=2, hu=900, orientation="RAS")
    short = "Short field of view: 150 mm of the body, the template shows 400 mm."
    assert judged(*USUAL[:3], odd) == {"pt_0": [], "pt_1": [], "pt_2": [], "odd": [short]}
    copies_do_not_count = [replace(facts("again"), fingerprint="pt_0"), facts("lost", problem="Lost.")]
    assert judged(*USUAL[:3], odd, *copies_do_not_count)["odd"] == [short]
    assert len(judged(*USUAL[:4], odd)["odd"]) == 4


def test_the_template_and_scans_are_needed(plain, images, tmp_path):
    with pytest.raises(UserError, match="template cannot be used: .*does not exist"):
        check_cohort(tmp_path / "none.nii.gz", images)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(plain / "template.nii.gz", alone)
    with pytest.raises(UserError, match="no scan besides the template"):
        check_cohort(alone / "template.nii.gz", alone)
    shutil.copy(plain / "template.nii.gz", images / "a_template.nii.gz")
    assert [scan.name for scan in check_cohort(images / "a_template.nii.gz", images).scans] == list(SOUND)


@pytest.mark.parametrize(
    "text",
    [
        "path\nimg/pt_2.nii.gz\nimg/pt_1.nii.gz\n",
        "id,Image ,age\n7,img/pt_2.nii.gz,50\n\n8, img/pt_1.nii.gz,60\n",
        "\ufeffpath;age\r\nimg/pt_2.nii.gz;50\r\nimg/pt_1.nii.gz;60\r\n",
        "img/pt_2.nii.gz,50\nimg/pt_1.nii.gz\n",
        "image\timage_date\nimg/pt_2.nii.gz\t2020\n{absolute}\t2021\n",
    ],
)
def test_tables(images, text):
    table = images.parent / "cohort.csv"
    table.write_bytes(text.format(absolute=images / "pt_1.nii.gz").encode())
    assert list_cohort(table) == [images / "pt_2.nii.gz", images / "pt_1.nii.gz"]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("path\nimg/pt_1.nii.gz\nimg/pt_99.nii.gz\n", r"Row 3 of .*cohort.csv names img/pt_99.nii.gz"),
        ("file\nimg/pt_1.nii.gz\n", "Row 1 of .*heading, call it `path`"),
        ("age,path\n50,img/pt_1.nii.gz\n60,\n", "Row 3 of .*names no scan"),
        ("path\n", "names no scan"),
        ("", "names no scan"),
        ("img/pt_1.nii.gz\nimg/../img/pt_1.nii.gz\n", "two scans of the name pt_1"),
        (b"\x1f\x8b\x08\xff\xfe", "not a text file"),
    ],
)
def test_tables_that_are_wrong(images, text, problem):
    table = images.parent / "cohort.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=problem):
        list_cohort(table)


def test_folders(images):
    assert list_cohort(images) == [images / f"{name}.nii.gz" for name in SOUND]
    save_volume(images / "pt_3.mha", phantom(7)[0])
    with pytest.raises(UserError, match="two scans of the name pt_3"):
        list_cohort(images)
    with pytest.raises(UserError, match="none.csv does not exist"):
        list_cohort(images / "none.csv")
    with pytest.raises(UserError, match="folder .*none does not exist"):
        list_cohort(images / "none")


def test_estimate():
    """80 scans of 1.15 million voxels, as they were measured: 11 minutes with two processes, 2.9 s for an iteration of 2, 1.5 GB
    for it, and 16.3 GB for one of 4 with the paper's network."""
    cohort = Cohort(facts("template"), [facts(f"pt_{i}") for i in range(80)] + [facts("lost", problem="Lost.")])
    found = estimate_cost(cohort, 1_150_000, "compact", 1600, 2, 2, cuda=False)
    assert found.teacher_hours * 60 == pytest.approx(11) and found.training_hours * 60 == pytest.approx(1600 * 2.9 / 60)
    assert found.memory_gb == pytest.approx(2 * 1.0) and found.disk_gb == pytest.approx(0.08)
    assert estimate_cost(cohort, 1_150_000, "compact", 1, 2, 1, cuda=False).memory_gb == pytest.approx(1.5)
    assert estimate_cost(cohort, 1_150_000, "paper", 1, 4, 1, cuda=False).memory_gb == pytest.approx(16.3, abs=0.5)
    double = estimate_cost(cohort, 2_300_000, "compact", 800, 1, 8, cuda=False)
    assert double.teacher_hours * 60 == pytest.approx(5.5) and double.training_hours == pytest.approx(
        found.training_hours / 2
    )
    assert double.memory_gb == pytest.approx(8 * 2 * 1.0) and double.disk_gb == pytest.approx(0.16)
    all_at_once = estimate_cost(cohort, 1_150_000, "compact", 1, 1, 1000, cuda=False)
    assert all_at_once.teacher_hours * 3600 == pytest.approx(16.5) and all_at_once.memory_gb == pytest.approx(80)


def test_estimate_in_words():
    known = TrainingCost(0.2, 12.34, 3.0, 0.08, "a guess")
    assert str(known) == (
        "about 12 min for the teacher and 12.3 h for the training, 3.0 GB of memory and 0.08 GB of disk (a guess)"
    )
    assert str(replace(known, teacher_hours=0.0)).startswith("about 1 min for the teacher")


def test_estimate_knows_every_preset_and_says_what_was_not_measured():
    cohort = Cohort(facts("template"), USUAL)
    cpu, gpu = {"paper": 26.0, "unet": 4.0, "compact": 1.45}, {"paper": 0.3, "unet": 0.15, "compact": 0.1}
    for cuda, known in ((False, cpu), (True, gpu)):
        found = {
            preset: estimate_cost(cohort, 1_150_000, preset, 3600, 1, 1, cuda).training_hours for preset in PRESETS
        }
        assert found == pytest.approx(known)
    for preset, cuda, said in (
        ("compact", True, True),
        ("paper", True, True),
        ("unet", False, True),
        ("paper", False, False),
    ):
        assert ("not measured" in estimate_cost(cohort, 1_150_000, preset, 1, 1, 1, cuda).note) == said
    with pytest.raises(UserError, match="no preset huge"):
        estimate_cost(cohort, 1_150_000, "huge", 1, 1, 1, False)


def test_summary():
    again = replace(facts("again"), fingerprint="pt_0")
    lost = ScanFacts("lost", "/lost.nii.gz", problem="It is lost.")
    cohort = check._find_unusual(
        Cohort(
            facts("template", length=380.0),
            [*USUAL, facts("short", length=150, litres=8), facts("thick", edge=8), again, lost],
        )
    )
    assert summary(cohort).splitlines() == [
        "10 scans, 8 usable; template template, 100 x 100 x 100 voxels, LPS",
        "Voxels in mm: R 1, A 1, S 3 to 8",
        "Orientations: LPS (9)",
        "Fields of view in mm: R 100, A 100, S 300 to 800",
        "Length of the body in mm: 150 to 400, of the template 380",
        "Cannot be used: 1",
        "  lost: It is lost.",
        "Copies, left out: 1",
        "  again: the same voxels as pt_0",
        "Unusual, used all the same: 2",
        "  short: Short field of view: 150 mm of the body, the template shows 380 mm.",
        "  thick: Voxels of 8 mm along S, usual are 3 mm.",
    ]
    assert summary(Cohort(facts("template"), [lost])).splitlines()[1:] == ["Cannot be used: 1", "  lost: It is lost."]


def test_saved_and_loaded(checked, tmp_path):
    cohort = checked
    save_cohort(tmp_path / "job" / "new", cohort)
    assert load_cohort(tmp_path / "job" / "new") == cohort
    content = json.loads((tmp_path / "job" / "new" / "cohort.json").read_text())
    assert content["summary"] == summary(cohort) and len(content["scans"]) == 13
    assert sorted(p.name for p in (tmp_path / "job" / "new").iterdir()) == ["cohort.json", "cohort_unusual.png"]
    save_cohort(
        tmp_path / "job" / "new", Cohort(cohort.template, [scan for scan in cohort.scans if scan.name == "pt_4"])
    )
    assert [p.name for p in (tmp_path / "job" / "new").iterdir()] == ["cohort.json"]  # the old picture is gone


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"version": 0}', "another version"),
        ('{"version": 1, "template": [], "scans": []}', "damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text, problem):
    with pytest.raises(UserError, match="does not exist"):
        load_cohort(tmp_path)
    (tmp_path / "cohort.json").write_text(text)
    with pytest.raises(UserError, match=problem):
        load_cohort(tmp_path)


def test_thumbnails_are_slices_through_the_body_in_right_proportions():
    """A ball in voxels of 3 x 4 x 6 mm, off the scan's centre, with a bone on the Left, in front and on top."""
    affine = np.array([[3.0, 0, 0, -120], [0, 4, 0, -120], [0, 0, 6, -90], [0, 0, 0, 1]])
    grid = Grid((80, 60, 40), affine)
    points, centre = grid.points().numpy(), np.array([40.0, -30, 20])
    data = np.where(np.linalg.norm(points - centre, axis=-1) < 60, 50.0, -1000.0)
    data[(np.abs(points - centre - (-24, 0, 24)) < 8).all(-1) | (np.abs(points - centre - (0, 24, 24)) < 8).all(-1)] = (
        900
    )
    for scan in (Volume(data.astype(np.float32), grid), flipped(flipped(Volume(data.astype(np.float32), grid), 0), 2)):
        for image, width in zip(thumbnail(scan), (240, 240)):
            assert image.shape == pytest.approx((240 / 2, width / 2), abs=1)
            rows, columns = np.nonzero(image > -400)
            assert np.ptp(rows) + 1 == pytest.approx(60, abs=4) and np.ptp(columns) + 1 == pytest.approx(60, abs=4)
            bone = np.argwhere(image > 500).mean(0) - (rows.mean(), columns.mean())
            np.testing.assert_allclose(bone, (-12, 12), atol=2)  # up; the patient's Left and front are on the right


def test_picture(images, tmp_path, monkeypatch):
    """Tiles of 3.4 inches at 100 dpi, 0.15 between them; a tile for the template and one per scan, five in a row."""
    template, short, long = (measure_scan(images / f"pt_{i}.nii.gz") for i in (1, 2, 3))
    drawn = []
    monkeypatch.setattr(module, "load_scan", lambda path: drawn.append(path) or load_scan(path))
    sizes = {}
    for count in (1, 4, 5, 30):
        scans = [replace(short, name=f"pt_{i}", unusual=["Odd."]) for i in range(count)]
        save_cohort(tmp_path, Cohort(template, [long, *scans]))
        sizes[count] = imread(tmp_path / "cohort_unusual.png").shape[:2]
        assert Counter(drawn) == {template.path: 1, short.path: min(count, 24)}  # what is not shown is not read
        drawn.clear()
    assert [sizes[n][1] for n in (1, 4, 5, 30)] == pytest.approx([15 + 355 * n for n in (2, 5, 5, 5)], abs=1)
    row = sizes[5][0] - sizes[4][0]
    assert sizes[1][0] == sizes[4][0] and sizes[30][0] == pytest.approx(sizes[4][0] + 4 * row, abs=3)
    coronal, sagittal = thumbnail(load_scan(short.path))
    proportion = coronal.shape[0] / (coronal.shape[1] + 6 + sagittal.shape[1])
    assert row == pytest.approx(340 * proportion + 15 + 28 + 16, abs=2)  # image, gap, name, one line of reason
    picture = imread(tmp_path / "cohort_unusual.png")[..., :3]
    tile = picture[15 + 44 : 15 + 44 + int(340 * proportion), 15:355]
    assert (tile > 0.5).any() and (picture.std(-1) > 0.2).any()  # tissue is bright; the reasons are coloured


def test_harmless_ones_come_last(images, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(module, "_draw", lambda path, template, entries: shown.extend(entries))
    base = measure_scan(images / "pt_1.nii.gz")
    stored = [f"Stored as RAS, most as LPS, {facts.HARMLESS}."]
    scans = [
        replace(base, name="a", unusual=stored),
        replace(base, name="b"),
        replace(base, name="c", unusual=["Odd.", *stored]),
        replace(base, name="d", same_as="b"),
    ]
    save_cohort(tmp_path, Cohort(base, scans))
    assert [(scan.name, texts) for scan, texts in shown] == [
        ("c", ["Odd.", *stored]),
        ("d", ["Copy of b."]),
        ("a", stored),
    ]
