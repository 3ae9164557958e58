"""What `slicer.app.coreIOManager()` answers: files of the scene, read and written by MRML's own storage nodes.

Follows Slicer's ``Base/QTCore/qSlicerCoreIOManager.cxx``.
"""

from __future__ import annotations

import os
from pathlib import Path

import slicer

TYPES = (  # the first that fits decides; longer endings come first
    ((".seg.nrrd", ".seg.nhdr", ".seg.vtm"), "SegmentationFile"),
    ((".mrb", ".mrml"), "SceneFile"),
    ((".h5", ".tfm", ".mat", ".txt"), "TransformFile"),
    ((".mrk.json", ".fcsv"), "MarkupsFile"),
    ((".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"), "VolumeFile"),
    ((".vtk", ".vtp", ".stl", ".ply", ".obj"), "ModelFile"),
    ((".tsv", ".csv"), "TableFile"),
)
LABELMAP, CENTER, SINGLE_FILE, AUTO_WINDOW, NO_ORIENTATION = 1, 2, 4, 8, 16  # options of vtkSlicerVolumesLogic


def _stem(path: str) -> str:
    name = os.path.basename(path)
    ending = next((e for endings, _ in TYPES for e in endings if name.lower().endswith(e)), os.path.splitext(name)[1])
    return name[: len(name) - len(ending)]


class CoreIOManager:
    """Only the functions that `slicer.util` calls."""

    def fileType(self, path) -> str:
        return next((kind for endings, kind in TYPES if str(path).lower().endswith(endings)), "NoFile")

    def loadNodes(self, kind, properties, loaded, messages=None) -> bool:
        path = properties["fileName"]
        reader = getattr(self, f"_read_{kind}", None)
        if reader is None:
            raise NotImplementedError(f"the host reads no {kind}: {path}")
        result = reader(path, properties.get("name") or _stem(path), properties, messages)
        if isinstance(result, bool):
            return result
        if result is not None:
            loaded.AddItem(result)
        return result is not None

    def _read_VolumeFile(self, path, name, properties, _messages):
        flags = {
            "labelmap": LABELMAP,
            "center": CENTER,
            "singleFile": SINGLE_FILE,
            "autoWindowLevel": AUTO_WINDOW,
            "discardOrientation": NO_ORIENTATION,
        }
        options = sum(bit for key, bit in flags.items() if properties.get(key))
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        if node is not None and properties.get("show", True):
            logic = slicer.app.applicationLogic()
            selection = logic.GetSelectionNode()
            (
                selection.SetActiveLabelVolumeID
                if node.IsA("vtkMRMLLabelMapVolumeNode")
                else selection.SetActiveVolumeID
            )(node.GetID())
            logic.PropagateVolumeSelection()
        return node

    def _read_SegmentationFile(self, path, name, properties, _messages):
        return slicer.modules.segmentations.logic().LoadSegmentationFromFile(
            path, properties.get("autoOpacities", True), name
        )

    def _read_TransformFile(self, path, name, _properties, _messages):
        return slicer.modules.transforms.logic().AddTransform(path, slicer.mrmlScene)

    def _read_MarkupsFile(self, path, name, _properties, messages):
        node_id = slicer.modules.markups.logic().LoadMarkups(path, name, messages)
        return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None

    def _read_ModelFile(self, path, name, _properties, messages):
        return slicer.modules.models.logic().AddModel(path, slicer.vtkMRMLStorageNode.CoordinateSystemLPS, messages)

    def _read_TableFile(self, path, name, _properties, _messages):
        return slicer.modules.tables.logic().AddTable(path, name)

    def _read_SceneFile(self, path, name, properties, messages) -> bool:
        scene, clear = slicer.mrmlScene, properties.get("clear", False)
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def saveNodes(self, kind, properties, messages=None) -> bool:
        scene, path = slicer.mrmlScene, str(properties["fileName"])
        if kind == "SceneFile":
            if path.endswith(".mrb"):
                return bool(scene.WriteToMRB(path, None, messages))
            scene.SetURL(path)
            scene.SetRootDirectory(str(Path(path).parent))
            return bool(scene.Commit(path, messages))
        node = scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def exportNodes(self, node_ids, paths, properties, harden, messages=None) -> bool:
        """Written without touching the storage node that the scene keeps."""
        done = True
        for node_id, path in zip(node_ids, paths, strict=True):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if harden and node.GetParentTransformNode():
                raise NotImplementedError("the host exports no node under a transform in world coordinates")
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetScene(slicer.mrmlScene)
            storage.SetFileName(str(path))
            if "useCompression" in properties:
                storage.SetUseCompression(properties["useCompression"])
            done = bool(storage.WriteData(node)) and done
        return done

    def fileWriterFileType(self, node, _format="") -> str:
        return "NodeFile"

    def fileWriterExtensions(self, node) -> list[str]:
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetScene(slicer.mrmlScene)
        formats = storage.GetSupportedWriteFileTypes()
        return [formats.GetValue(i) for i in range(formats.GetNumberOfValues())]

    def extractKnownExtension(self, path, node) -> str:
        endings = [
            slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString(text)
            for text in self.fileWriterExtensions(node)
        ]
        fitting = [ending for ending in endings if str(path).lower().endswith(ending)]
        return max(fitting, key=len, default="." + str(path).rpartition(".")[2])
