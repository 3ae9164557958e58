"""The sample data in Slicer's module Sample Data, and its stand-in, which refuses what the real classes refuse."""

import sys

import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer

    from host import sample_data, start

    HOST = start()
    from SlicRegSlicer import sample

URI = {"uris": "https://a.invalid/b", "fileNames": "b.nrrd", "nodeNames": "b"}
LISTS = {name: [value, value] for name, value in URI.items()}


@pytest.fixture(params=["5.10", "main"])
def source(request, monkeypatch):
    """The stand-in as in a version of Slicer, without registered sources."""
    monkeypatch.setattr(sample_data.SampleDataSource, "spellings", sample_data.SPELLINGS[request.param])
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    return sample_data.SampleDataSource


# ---- the stand-in


@pytest.mark.parametrize(
    "fields, error",
    [
        ({}, TypeError),  # as without uris
        ({"customDownloader": print}, TypeError),
        ({"uris": ["a", "b"]}, TypeError),
        ({**LISTS, "fileNames": ["one"]}, ValueError),
        ({**LISTS, "nodeNames": ["one"]}, ValueError),
        ({**LISTS, "checksums": ["SHA256:1"]}, ValueError),
        ({**URI, "address": "c"}, TypeError),
    ],
)
def test_what_sample_data_refuses(source, fields, error):
    with pytest.raises(error):
        source(sampleName="x", **fields)


def test_what_sample_data_takes(source):
    assert source(**URI).uris == ["https://a.invalid/b"] and source(**LISTS).checksums == [None, None]
    assert source(**LISTS, loadFileType="VolumeFile").loadFileTypes == ["VolumeFile"] * 2


def test_the_types_of_files_are_named_as_in_each_version(source):
    if "loadFileTypes" in source.spellings:
        assert source(**URI, loadFileTypes="VolumeFile").loadFileTypes == ["VolumeFile"]
        with pytest.raises(ValueError, match="same time"):
            source(**URI, loadFileTypes="VolumeFile", loadFileType="VolumeFile")
    else:
        with pytest.raises(TypeError, match="loadFileTypes"):
            source(**URI, loadFileTypes="VolumeFile")


# ---- the sample


def test_the_pair_is_offered_once(source):
    """Also after the module was loaded again."""
    sample.register()
    sample.register()
    (found,) = slicer.modules.sampleDataSources["SlicReg"]
    assert found.sampleName == "SlicRegPhantomPair" and found.fileNames and found.nodeNames
    with open(found.thumbnailFileName, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_the_pair_is_offered_when_slicer_has_started(source):
    with HOST.watch():
        HOST.load_module()
        HOST.unload_module()
    assert [found.sampleName for found in slicer.modules.sampleDataSources["SlicReg"]] == ["SlicRegPhantomPair"]


def test_a_slicer_without_sample_data(monkeypatch):
    monkeypatch.setitem(sys.modules, "SampleData", None)
    sample.register()


def test_a_click_makes_the_pair(monkeypatch):
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    HOST.clear_scene()
    sample.register()
    nodes = HOST.click_sample("SlicRegPhantomPair")
    assert [node.GetName() for node in nodes] == [
        "Phantom template",
        "Phantom template organs",
        "Phantom target",
        "Phantom target organs",
    ]
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert view.GetBackgroundVolumeID() == nodes[0].GetID()
    template_organs, target_organs = nodes[1::2]
    assert template_organs.GetDisplayNode().GetVisibility() and not target_organs.GetDisplayNode().GetVisibility()
    HOST.clear_scene()
