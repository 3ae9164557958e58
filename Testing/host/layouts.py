"""`slicer.app.layoutManager()`: the real layout node, layout logic and slice logics, without windows.

Follows Slicer's ``Libs/MRML/Widgets/qMRMLLayoutManager.cxx``: choosing a layout sets the layout node's view
arrangement, upon which vtkMRMLLayoutLogic adds the view nodes that the layout's XML names; each slice node gets a slice
logic. For a layout that the layout node does not know the real one prints a warning; here it is an error.
"""

from __future__ import annotations

import slicer
import vtk


class _SliceWidget:
    """One slice view, without a window."""

    def __init__(self, logic):
        self._logic = logic

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()


class LayoutManager:
    """Slice views on real slice logics; 3-D views are nodes only."""

    threeDViewCount = tableViewCount = plotViewCount = 0

    def __init__(self, application_logic):
        self._logics = {}
        application_logic.SetSliceLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLApplicationLogic(application_logic)
        self._layout_logic.SetMRMLScene(slicer.mrmlScene)
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    @property
    def layout(self):
        return self._layout_logic.GetLayoutNode().GetViewArrangement()

    @layout.setter
    def layout(self, layout):
        self.setLayout(layout)

    def setLayout(self, layout):
        node = self._layout_logic.GetLayoutNode()
        if not node.IsLayoutDescription(layout):
            raise AssertionError(f"no layout {layout} is registered with the layout node")
        node.SetViewArrangement(layout)
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if view.GetLayoutName() not in self._logics:
                self._add_logic(view)

    def layoutLogic(self):
        return self._layout_logic

    def sliceViewNames(self):
        return tuple(self._logics)

    def sliceWidget(self, name):
        return _SliceWidget(self._logics[name])

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self):
        for logic in self._logics.values():
            logic.FitSliceToBackground()

    def resetThreeDViews(self):
        pass

    def _add_logic(self, view):
        application_logic = self._layout_logic.GetMRMLApplicationLogic()
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.SetSliceNode(view)  # adds the composite node
        application_logic.GetSliceLogics().AddItem(logic)
        self._logics[view.GetLayoutName()] = logic
