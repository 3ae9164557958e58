"""Names of segments in the headers of segmentations, as Slicer and the library write them."""

import numpy as np
import pytest

from SlicRegLib.cohort.label_names import LabelName
from SlicRegLib.cohort.segment_names import agree_on_names, read_segment_names
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.segmentations import SegmentAbout, save_segmentation
from SlicRegLib.images.volumes import Volume
from SlicRegLib.jobs.options import JobOptions

GRID = Grid.centred((0, 0, 0), (8, 9, 10), 2.0)


def write(path, **names):
    """A segmentation in which l3="Liver" names label 3."""
    about = {int(key[1:]): SegmentAbout(name, (255, 0, 51)) for key, name in names.items()}
    save_segmentation(path, Volume(np.ones(GRID.shape, np.uint8), GRID), about)
    return path


def test_names_and_colours_are_read_back(tmp_path):
    path = write(tmp_path / "a.seg.nrrd", l1="Ösophagus, 食道 := a", l300="two\nlines")
    colour = (255, 0, 51)
    assert read_segment_names(path) == {
        1: LabelName("Ösophagus, 食道 := a", colour),
        300: LabelName("two lines", colour),
    }


def test_slicer_writes_names_that_are_read(tmp_path):
    slicer = pytest.importorskip("slicer")
    if not hasattr(slicer, "vtkMRMLScene"):
        pytest.skip("the package 'slicer' is not slicer-core")
    scene, path = slicer.vtkMRMLScene(), write(tmp_path / "a.seg.nrrd", l1="Leber", l2="食道")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    storage.SetFileName(str(tmp_path / "slicer.seg.nrrd"))
    assert storage.WriteData(node) == 1
    assert read_segment_names(tmp_path / "slicer.seg.nrrd") == read_segment_names(path)


def test_one_number_of_two_organs_is_refused(tmp_path):
    files = [write(tmp_path / "a.seg.nrrd", l1="Liver", l2="Aorta"), write(tmp_path / "b.seg.nrrd", l1="liver")]
    assert {value: name.name for value, name in agree_on_names(files).items()} == {1: "Liver", 2: "Aorta"}
    files.append(write(tmp_path / "c.seg.nrrd", l1="Aorta"))
    options = JobOptions(images=str(tmp_path), labels=str(tmp_path), name="m")
    with pytest.raises(UserError, match="Label 1"):  # before the work begins
        options.check()
    with pytest.raises(
        UserError, match=r'Label 1 is "Liver" in .*a.seg.nrrd, but "Aorta" in .*c.seg.nrrd; give each organ'
    ):
        agree_on_names(files)


def test_other_files_have_no_names(tmp_path):
    for name, content in {
        "a.nii.gz": b"Segment0_Name:=Liver\nSegment0_LabelValue:=1\n\n",
        "plain.nrrd": b"NRRD0004\ntype: uchar\n\n",
        "half.nrrd": b"Segment0_Name:=Liver\n\nSegment0_LabelValue:=1\n",
        "value.nrrd": b"Segment0_Name:=Liver\nSegment0_LabelValue:=70000\n\n",
        "empty.nrrd": b"",
        "long.nrrd": b"Segment0_LabelValue:=1\nSegment0_Name:=" + b"x" * 300 + b"\n\n",
        "bytes.nrrd": bytes(range(256)) * 10,
    }.items():
        (tmp_path / name).write_bytes(content)
        assert read_segment_names(tmp_path / name) == {}
    assert read_segment_names(tmp_path / "absent.seg.nrrd") == {} == agree_on_names([])
    (tmp_path / "colour.nrrd").write_bytes(b"Segment0_LabelValue:=1\nSegment0_Name:=a\nSegment0_Color:=nan 0 9\n\n")
    assert read_segment_names(tmp_path / "colour.nrrd") == {1: LabelName("a")}
