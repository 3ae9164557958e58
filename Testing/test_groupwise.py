"""The average of a cohort whose average is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from SlicRegLib.cohort.check import check_cohort
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.jobs.learn import find_taught
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.registration.atlas import LEVELS
from SlicRegLib.registration.options import RefinementOptions
from SlicRegLib.registration.organs import PERCENTILES
from SlicRegLib.stages import AVERAGE, WARNING
from SlicRegLib.teaching import groupwise
from SlicRegLib.teaching.create import count_labels, prepare_study
from SlicRegLib.teaching.options import PrepareRequest, SupervoxelOptions
from SlicRegLib.teaching.study import open_study
from study_samples import assert_same_study
from swelling import AMOUNTS, GRID, ORGAN, RADIUS, draw_body, write_swelling_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_swelling_cohort(tmp_path_factory.mktemp("swelling"))


@pytest.fixture(scope="module")
def request_(cohort):
    """Begins with the scan whose organ is smallest."""
    return PrepareRequest(
        images=cohort / "img",
        template=cohort / "img" / "a.nii.gz",
        average=True,
        out=cohort / "study",
        spacing_mm=6.0,
        shape=(32, 32, 48),
        workers=1,
    )


@pytest.fixture(scope="module")
def few_layers():
    """Supervoxels take most of the time, and are not looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervoxelOptions, "__init__", _with_two_layers(SupervoxelOptions.__init__))
        patch.setattr(groupwise, "MOST_ROUNDS", 2)
        yield


def _with_two_layers(init):
    return lambda self, **options: init(self, **{"layers": 2, **options})


@pytest.fixture(scope="module")
def warnings():
    return []


@pytest.fixture(scope="module")
def study(request_, few_layers, warnings):
    return prepare_study(request_, lambda stage, share, text: warnings.append(text) if stage == WARNING else None)


def radius_of(image: torch.Tensor, grid: Grid, threshold: float) -> float:
    """Of the ball that has the volume of what exceeds the threshold around the organ's place, to 1 mm."""
    fine = Grid.centred(_centre_of(image, grid, threshold), (90, 90, 90), 1.0)
    values = sample(image[None], grid, fine.points())[0]
    near = fine.points() - torch.as_tensor(fine.centre, dtype=torch.float32)
    inside = (values > threshold) & (values < 400) & (near.norm(dim=-1) < 44)
    return float((3 * inside.sum() / (4 * np.pi)) ** (1 / 3))


def _centre_of(image: torch.Tensor, grid: Grid, threshold: float) -> np.ndarray:
    inside = (image > threshold) & (image < 260)
    points = grid.points()[inside].numpy()
    near = np.linalg.norm(points - (ORGAN + grid.centre), axis=-1) < 45
    return points[near].mean(0)


def test_the_organ_has_its_average_size(study, cohort):
    """It began with a scan whose organ is much smaller."""
    atlas = study.atlas()
    assert study.scans == list(AMOUNTS) and atlas.scans == len(AMOUNTS) and not study.failed
    found = radius_of(atlas.image.tensor[0], atlas.image.grid, 105.0)
    hu = torch.from_numpy(draw_body(GRID.points().numpy())[0]).float()
    drawn = radius_of(hu, GRID, 105.0)
    assert drawn == pytest.approx(RADIUS, abs=1) and found == pytest.approx(drawn, abs=1.0)
    start, _ = study.scan("a")
    assert radius_of(start.hu, start.grid, 105.0) < RADIUS - 3


def test_few_scans_are_said(study, warnings):
    assert len(warnings) == 1 and "5 scans" in warnings[0]


def test_the_average_is_nearly_as_sharp_as_a_scan(study):
    """From muscle to organ and bone."""
    steps = [
        hu.diff(dim=0).abs()[4:-4, 12:20, 18:30].amax(0).median()
        for hu in (study.atlas().scan.hu, study.scan("c")[0].hu)
    ]
    assert steps[0] > 0.6 * steps[1]


def test_its_fields_lead_each_scan_to_it(study):
    """The organ's border, 30 mm from its centre in the average, lies further out in those that are swollen."""
    atlas = study.atlas()
    centre = torch.as_tensor(_centre_of(atlas.scan.hu, atlas.grid, 105.0), dtype=torch.float32)
    directions = torch.nn.functional.normalize(torch.randn(400, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    for name, amount in AMOUNTS.items():
        scan, field = study.scan(name)
        own = torch.as_tensor(_centre_of(scan.hu, scan.grid, 105.0), dtype=torch.float32)
        border = RADIUS * (1 + amount * np.exp(-(RADIUS**2) / (2 * 35.0**2)))
        reached = (field(own + border * directions) - centre).norm(dim=1)
        assert float(reached.mean()) == pytest.approx(RADIUS, abs=1.5), name


def test_features_are_averages_of_features(study):
    atlas = study.atlas()
    assert atlas.features.max() <= LEVELS and atlas.seen.max() == len(AMOUNTS)
    compared = atlas.compared(RefinementOptions(), torch.device("cpu"))
    own = atlas.compared(RefinementOptions(dilation=2), torch.device("cpu"))  # was not averaged
    assert compared.features.values.shape == own.features.values.shape
    assert not torch.allclose(compared.features.values, own.features.values, atol=0.1)
    twice = atlas.compared(RefinementOptions(intensity=4.0), torch.device("cpu")).features.values[..., 12:]
    torch.testing.assert_close(twice, 2 * compared.features.values[..., 12:])


def test_an_interrupted_run_goes_on_to_the_same_study(study, request_, few_layers, tmp_path):
    class Stop(Exception):
        pass

    def stop_at(words: str):
        def progress(stage, share, details):
            if stage == AVERAGE and words in details:
                raise Stop

        return progress

    request = replace(request_, out=tmp_path / "study")
    for words in ("round 1: 3 of 5", "round 2: 0 of 5", "image: 2 of 5"):
        with pytest.raises(Stop):
            prepare_study(request, stop_at(words))
    prepare_study(request)
    assert_same_study(study.folder, tmp_path / "study")
    assert not (tmp_path / "study" / "rounds").exists()
    assert prepare_study(request) == open_study(tmp_path / "study")  # finished, so nothing is done


def test_labels_agree_on_the_organ(study, cohort):
    counted = count_labels(study, str(cohort / "label"), {}).consensus()
    (organ,) = counted.organs
    assert (organ.value, organ.name, organ.raters) == (7, "Label 7", 5) and organ.agreement > 0.85
    labels = counted.labels
    radius = (3 * (labels.data == 7).sum() * np.prod(labels.grid.spacing) / (4 * np.pi)) ** (1 / 3)
    assert radius == pytest.approx(RADIUS, abs=1.0)
    borders = RADIUS * (1 + np.array(list(AMOUNTS.values())) * np.exp(-(RADIUS**2) / (2 * 35.0**2)))
    volumes = 4 / 3 * np.pi * borders**3 / 1000
    np.testing.assert_allclose(organ.volumes_ml, np.percentile(volumes, PERCENTILES), rtol=0.05)
    assert organ.percentile(organ.volumes_ml[9]) == 50
    with pytest.raises(UserError, match="by name"):
        (cohort / "others").mkdir()
        (cohort / "others" / "z.nii.gz").write_bytes((cohort / "label" / "a.nii.gz").read_bytes())
        count_labels(study, str(cohort / "others"), {})


def test_a_job_averages_the_scan_with_which_it_begins(cohort):
    """The check of the cohort compares the others with it, and lists it apart."""
    options = JobOptions(name="m", template=str(cohort / "img" / "a.nii.gz"), images=str(cohort / "img"), average=True)
    checked = check_cohort(Path(options.template), Path(options.images), 1)
    assert sorted(path.stem[0] for path in find_taught(options, checked)) == list(AMOUNTS)
    assert len(find_taught(replace(options, average=False), checked)) == len(AMOUNTS) - 1


def test_the_average_of_other_scans_is_not_mistaken_for_it(study, request_):
    fewer = [path for path in sorted(request_.images.iterdir()) if path.name != "e.nii.gz"]
    with pytest.raises(UserError, match="other scans"):
        prepare_study(request_, paths=fewer)


@pytest.mark.parametrize("options", [{"teacher": "convexadam"}, {"start": "headneck-openkbp"}])
def test_what_an_average_cannot_be_made_with(request_, options, tmp_path):
    with pytest.raises(UserError, match="average"):
        prepare_study(replace(request_, out=tmp_path / "study", **options))
    assert not (tmp_path / "study").exists()
