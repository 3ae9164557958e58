"""The evaluation of a cohort by any function that registers: cases, means, failures and labels left out."""

import numpy as np
import pytest

from SlicRegLib.cohort.label_files import find_labels
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import identity_field
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import compare, evaluate
from tiny import phantom, write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Template, pt_1, pt_2 and pt_3 with labels; scan pt_4 without."""
    folder = write_cohort(tmp_path_factory.mktemp("cohort"), 4)
    (folder / "label" / "pt_4.nii.gz").unlink()
    return folder


@pytest.fixture(scope="module")
def template(cohort) -> Volume:
    return load_scan(cohort / "template.nii.gz")


@pytest.fixture(scope="module")
def template_labels(cohort) -> Volume:
    return load_labels(cohort / "template_label.nii.gz")


def stay(template: Volume, target: Volume) -> Registration:
    """A registration that leaves the target where it is."""
    return Registration(template, target, identity_field(template.grid), {"prediction": 1.5, "refinement": 2.0}, True)


def test_every_labelled_scan_is_a_case(cohort, template, template_labels):
    steps, targets = [], []

    def register_target(target: Volume) -> Registration:
        targets.append(target)
        return stay(template, target)

    found = evaluate(
        register_target, template_labels, cohort / "img", cohort / "label", lambda *step: steps.append(step)
    )
    assert list(found["cases"]) == ["pt_1", "pt_2", "pt_3"] and len(targets) == 3
    assert found["without_labels"] == ["pt_4"] and found["failed"] == {}
    assert steps[0] == ("evaluation", 0, "pt_1") and steps[-1] == ("evaluation", 1.0, "3 cases")
    for name, case in found["cases"].items():
        known = compare(stay(template, targets[0]), template_labels, phantom(int(name[-1]))[1])
        assert case["before"] == known["before"] and case["seconds"] == 3.5
        assert case["after"]["mean_dice"] == pytest.approx(case["before"]["mean_dice"])
    mean = found["mean"]
    assert mean["cases"] == 3 and mean["seconds"] == 3.5 and mean["folding_percent"] == 0
    assert mean["after_dice"] == pytest.approx(np.mean([c["after"]["mean_dice"] for c in found["cases"].values()]))
    livers = [case["after"]["dice"]["6"] for case in found["cases"].values()]
    assert mean["after_dice_per_label"]["6"] == pytest.approx(np.mean(livers))


def test_a_case_that_fails_does_not_stop_the_others(cohort, template, template_labels):
    def register_target(target: Volume) -> Registration:
        if np.array_equal(target.data, load_scan(cohort / "img" / "pt_2.nii.gz").data):
            raise UserError("There is no body.")
        return stay(template, target)

    found = evaluate(register_target, template_labels, cohort / "img", cohort / "label")
    assert found["failed"] == {"pt_2": "There is no body."} and list(found["cases"]) == ["pt_1", "pt_3"]
    assert found["mean"]["cases"] == 2


def test_without_any_case_there_is_one_sentence(cohort, template_labels, tmp_path):
    def fail(target: Volume) -> Registration:
        raise UserError("There is no body.")

    with pytest.raises(UserError, match=r"No case could be evaluated.*There is no body\."):
        evaluate(fail, template_labels, cohort / "img", cohort / "label")
    with pytest.raises(UserError, match="matched to scans by name"):
        evaluate(fail, template_labels, cohort / "img", tmp_path)


def test_labels_that_only_one_side_has_are_left_out(template, template_labels):
    target, labels = phantom(1)
    fewer = Volume(np.where(labels.data == 6, 0, labels.data), labels.grid)
    found = compare(stay(template, target), template_labels, fewer)
    assert found["left_out"] == [6] and "6" not in found["after"]["dice"] and len(found["after"]["dice"]) == 12
    with pytest.raises(UserError, match="no value in common"):
        compare(stay(template, target), template_labels, Volume(labels.data * 10 + 100, labels.grid))


def test_after_registration_the_labels_are_those_that_were_carried(template, template_labels):
    """The target is the template moved by whole voxels, and the registration knows it."""
    shift = template_labels.grid.vectors_to_world(np.array([2.0, -1, 3]))
    affine = template.grid.affine.copy()
    affine[:3, 3] += shift
    moved = type(template.grid)(template.grid.shape, affine)
    field = identity_field(template.grid)
    field.vectors.add_(field.vectors.new_tensor(shift).view(3, 1, 1, 1))
    target = Volume(template.data, moved)
    result = Registration(template, target, field, {}, True)
    found = compare(result, template_labels, Volume(template_labels.data, moved))
    assert found["after"]["mean_dice"] > 0.999 and found["before"]["mean_dice"] < 0.8
    assert found["after"]["mean_hd95_mm"] == 0 and found["before"]["mean_hd95_mm"] > 5


def test_label_files_are_found_whatever_their_format(cohort, template, template_labels, tmp_path):
    save_volume(tmp_path / "pt_1.nrrd", phantom(1)[1])
    found = evaluate(lambda target: stay(template, target), template_labels, cohort / "img", tmp_path)
    assert list(found["cases"]) == ["pt_1"] and found["without_labels"] == ["pt_2", "pt_3", "pt_4"]


def test_two_scans_of_one_name_are_refused(template_labels, tmp_path):
    for name in ("a.nii.gz", "a.mha"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"two scans called a, .*a.mha and .*a.nii.gz; rename or remove one"):
        evaluate(pytest.fail, template_labels, tmp_path, tmp_path)


@pytest.mark.parametrize("file", ["pt.1.nii.gz", "pt.1.NII.GZ", "pt.1.Nrrd", "pt.1.seg.nrrd", "pt.1-seg.nii"])
def test_names_of_label_files(tmp_path, file):
    for name in (file, "pt.1.txt", "PT.1.nii.gz", "pt.11.nii.gz", "pt.1_2.seg.nrrd", ".pt.1.nii"):
        (tmp_path / name).touch()
    assert find_labels(tmp_path, "pt.1") == tmp_path / file
    assert find_labels(tmp_path, "pt") is None and find_labels(tmp_path / "none", "pt.1") is None


def test_labels_are_preferred_to_a_segmentation(tmp_path):
    for name in ("a-seg.nii.gz", "a.mha", "a.seg.nrrd"):
        (tmp_path / name).touch()
    assert find_labels(tmp_path, "a") == tmp_path / "a.mha"
