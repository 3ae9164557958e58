"""Fixtures of the tests on the real MRML scene; a test file takes them with ``pytest_plugins``."""

from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def slicer_host(tmp_path_factory):
    """`slicer.mrmlScene` as in the application, with the logics that segmentations and .mrb files need."""
    import slicer

    patch, scene = pytest.MonkeyPatch(), slicer.vtkMRMLScene()
    patch.setattr(slicer, "mrmlScene", scene, raising=False)
    application, cache, data = slicer.vtkSlicerApplicationLogic(), slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(str(tmp_path_factory.mktemp("cache")))
    data.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(data)
    application.SetMRMLScene(scene)
    logics = [
        getattr(slicer, name)()
        for name in (
            "vtkSlicerSubjectHierarchyModuleLogic",
            "vtkSlicerVolumesLogic",
            "vtkSlicerTransformLogic",
            "vtkSlicerSegmentationsModuleLogic",
        )
    ]
    for logic in logics:
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    segmentations = SimpleNamespace(segmentations=SimpleNamespace(logic=lambda: logics[-1]))  # for arrayFromSegment...
    patch.setattr(slicer, "modules", segmentations, raising=False)
    yield SimpleNamespace(scene=scene, kept_alive=(application, cache, data, logics))
    patch.undo()


@pytest.fixture
def scene(slicer_host):
    """The empty scene. The test fails on any error that VTK prints, since VTK raises none."""
    import vtk

    slicer_host.scene.Clear(True)
    window, former = vtk.vtkStringOutputWindow(), vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(window)
    yield slicer_host.scene
    vtk.vtkOutputWindow.SetInstance(former)
    errors = [line for line in window.GetOutput().splitlines() if "ERR" in line.upper()]
    assert not errors, errors
