"""Shows a registration in the views: side by side, on target, on template, in 3-D, and comparisons on the template."""

from __future__ import annotations

import slicer
import slicer.util

from . import spaces
from .result_nodes import TEMPORARY, remove
from .review_images import ReviewImages
from .spaces import TARGET, TEMPLATE, Correspondence, Follower, SegmentViews
from .target_placement import TargetPlacement

SIDE = "+"  # ends the names of the lower views of Slicer's layout "three over three"; see vtkMRMLLayoutNode.cxx


class Review:
    """Shows one result. A view shows either the template's space, with the template's segments, or the target's own,
    with the segments that were carried to it; never the segments of the one over an image of the other."""

    def __init__(
        self, template, target, outputs, template_segmentation=None, target_segmentation=None, segment_views=None
    ):
        """template, target: the registered volume nodes. outputs: `SlicRegSlicer.request.Outputs`.

        segment_views: the `SegmentViews` of the result that was shown before, which remembers how the segments looked.
        """
        self.template, self.target, self.outputs = template, target, outputs
        self.template_segmentation, self.target_segmentation = template_segmentation, target_segmentation
        self.images = ReviewImages(template, outputs)
        self.segment_views = segment_views or SegmentViews()
        moved = (target, target_segmentation, outputs.warpedSegmentation, outputs.supervoxels)
        self._placement = TargetPlacement(template, outputs.transform, moved)
        self.correspondence = Correspondence(template, target, outputs.transform, outputs.inverse, self.is_applied)
        self._follower: Follower | None = None
        self._spaces: dict[str, str] = {}  # of the views by their IDs

    def is_alive(self) -> bool:
        """Whether all nodes that are shown are still in the scene."""
        outputs = self.outputs
        needed = (outputs.warpedTarget, outputs.transform)
        maps = filter(None, (outputs.confidence, outputs.supervoxels))
        return all(slicer.mrmlScene.IsNodePresent(node) for node in (self.template, self.target, *needed, *maps))

    def has_maps(self) -> bool:
        """Whether there are confidence and supervoxels, which a batch does not write."""
        return bool(self.outputs.confidence and self.outputs.supervoxels)

    def has_segments(self) -> bool:
        """Whether there are segments to show in 3-D."""
        return any(self.is_present(node) for node in (self.template_segmentation, self.outputs.warpedSegmentation))

    # ---- the result

    def show_side_by_side(self) -> None:
        """Above the template with its segments, below the target with the carried ones; the rows move together."""
        self._set_layout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
        upper = [node for node in spaces.list_slice_nodes() if not node.GetLayoutName().endswith(SIDE)]
        lower = [node for node in spaces.list_slice_nodes() if node.GetLayoutName().endswith(SIDE)]
        self._show({TEMPLATE: upper, TARGET: lower}, {TEMPLATE: spaces.list_3d_nodes()})
        for node in (*upper, *lower):
            composite = spaces.get_composite(node)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
        names = {node.GetLayoutName() + SIDE: node for node in upper}
        pairs = [(names[node.GetLayoutName()], node) for node in lower if node.GetLayoutName() in names]
        self._follower = Follower(self.correspondence, pairs)

    def show_on_target(self) -> None:
        """The target where it lies, with the carried segments; its own segments as outlines."""
        self._leave_own_layouts()
        self._show({TARGET: spaces.list_slice_nodes()}, {TARGET: spaces.list_3d_nodes()})

    def show_on_template(self) -> None:
        """The target as the transform brings it to the template, with the template's segments."""
        self._show_comparison(self.outputs.warpedTarget, filled=True)

    def show_surfaces(self) -> None:
        """In 3-D the template's segments and, beside them, the carried ones; the slices show the target."""
        for node in (self.template_segmentation, self.outputs.warpedSegmentation):
            if self.is_present(node):
                node.CreateClosedSurfaceRepresentation()
                node.GetDisplayNode().SetVisibility3D(True)
        self._set_layout(slicer.vtkMRMLLayoutNode.SlicerLayoutDual3DView)
        first = [node for node in spaces.list_3d_nodes() if node.GetLayoutName() == "1"]
        others = [node for node in spaces.list_3d_nodes() if node.GetLayoutName() != "1"]
        self._show({TARGET: spaces.list_slice_nodes()}, {TEMPLATE: first, TARGET: others})
        slicer.app.layoutManager().resetThreeDViews()

    # ---- comparisons on the template

    def blend(self, opacity: float = 0.5) -> None:
        """The template below, the warped target above with this opacity."""
        self._show_comparison(self.template, self.outputs.warpedTarget, opacity)

    def flick(self) -> None:
        """Switch from the template to the warped target, or back."""
        composite = next(iter(_list_composites()), None)
        above = (
            composite is not None
            and composite.GetForegroundVolumeID() == self.outputs.warpedTarget.GetID()
            and composite.GetForegroundOpacity() > 0.5
        )
        for composite in _list_composites():
            composite.SetForegroundOpacity(0.0 if above else 1.0)

    def show_checkerboard(self, fields: int = 8) -> None:
        """Template and warped target alternate in the fields of a 3-D checkerboard, ``fields`` along each axis."""
        self._show_comparison(self.images.make_checkerboard(fields))

    def show_confidence(self) -> None:
        """The confidence in colours over the template."""
        self._show_map(self.images.make_confidence)

    def show_displacement(self) -> None:
        """The length of the displacement in colours over the template."""
        self._show_map(self.images.make_displacement)

    def show_volume_change(self) -> None:
        """The determinant of the transform's Jacobian in colours over the template."""
        self._show_map(self.images.make_volume_change)

    def show_difference(self) -> None:
        """Template minus warped target in colours."""
        self._show_map(self.images.make_difference, 1.0)

    def show_supervoxels(self) -> None:
        """The supervoxels that the network predicts in the target, over the target."""
        self.show_on_target()
        self._hide_segments()  # their outlines would be lost among the supervoxels
        for composite in _list_composites():
            composite.SetLabelVolumeID(self.outputs.supervoxels.GetID())
            composite.SetLabelOpacity(0.4)

    def show_grid(self, on: bool) -> None:
        """The target's regular grid as the transform deforms it, in the views of the template, inside the body."""
        self.images.show_grid(on, self._list_view_nodes(TEMPLATE))

    # ---- places

    def fit(self) -> None:
        """Fit the views of the template to it; those of the target follow them to where it lies, however far away."""
        for node in self._list_view_nodes(TEMPLATE):
            spaces.get_logic(node).FitSliceToBackground()

    def find_least_sure(self) -> list[tuple[float, float, float, float]]:
        """Places on the template where the transform agrees least with the network: (R, A, S mm, confidence)."""
        return [tuple(place) for place in self.outputs.verdict["least_sure"]]

    def centre(self, r: float, a: float, s: float) -> None:
        """Centre the slice views on a point of the template; those of the target on the place that corresponds."""
        for node in spaces.list_slice_nodes():
            to_target = self._spaces.get(node.GetID()) == TARGET
            node.JumpSliceByCentering(*(self.correspondence.find((r, a, s), TARGET) if to_target else (r, a, s)))

    # ---- the transform on the target

    def is_applied(self) -> bool:
        """Whether the target is under the transform."""
        return self._placement.is_applied()

    def can_apply(self) -> bool:
        """Whether the target can be put under the transform."""
        return self._placement.can_apply()

    def apply_transform(self, on: bool) -> None:
        """Put the target and what goes with it under the transform, or take it off; the views show the same anatomy."""
        if on == self.is_applied():
            return
        self.pause()
        to = TEMPLATE if on else TARGET
        centres = {
            node: self.correspondence.transform_point(spaces.get_centre(node), to)
            for node in self._list_view_nodes(TARGET)
        }
        self._placement.apply(on)
        for node, centre in centres.items():
            node.JumpSliceByCentering(*centre)
        self.resume()

    # ---- the end

    def pause(self) -> None:
        """The views belong to another module now: they do not follow each other."""
        if self._follower:
            self._follower.stop()

    def resume(self) -> None:
        """The views belong to this module again."""
        if self._follower:
            self._follower.start()

    def leave_views(self) -> None:
        """Remove what was made for the views."""
        self.pause()
        self._follower = None
        self.images.close()

    def close(self, for_good: bool = True) -> None:
        """Leave the views and remove hidden results. for_good: also draw all segments where they were drawn before."""
        self.leave_views()
        supervoxels = self.outputs.supervoxels
        for composite in _list_composites() if supervoxels else ():
            if composite.GetLabelVolumeID() == supervoxels.GetID():
                composite.SetLabelVolumeID(None)
        for node in self.outputs.nodes():
            if node.GetAttribute(TEMPORARY) and self.is_present(node):
                remove(node)
        if for_good:
            self.segment_views.restore()

    # ---- views

    def _show_map(self, make, opacity: float = 0.5) -> None:
        volume, title = make()
        self._show_comparison(self.template, volume, opacity)
        self.images.show_legend(volume, title, [node.GetID() for node in spaces.list_slice_nodes()])

    def _show_comparison(self, background, foreground=None, opacity: float = 0.0, filled: bool = False) -> None:
        """All views show the template's space. filled: its segments are filled, which would hide a comparison."""
        self._leave_own_layouts()
        self._show({TEMPLATE: spaces.list_slice_nodes()}, {TEMPLATE: spaces.list_3d_nodes()}, filled)
        for composite in _list_composites():
            _set_layers(composite, background, foreground, opacity)

    def _show(self, slices: dict[str, list], views_3d: dict[str, list], filled: bool = True) -> None:
        """Show template and target plainly in the slice views of their space, and the segments with them."""
        self.pause()
        self._follower = None
        self.images.hide_legends()
        for space, nodes in slices.items():
            for node in nodes:
                composite = spaces.get_composite(node)
                _set_layers(composite, self.template if space == TEMPLATE else self.target)
                composite.SetLabelVolumeID(None)
                self._move(node, space)
        for space, nodes in views_3d.items():
            self._spaces.update({node.GetID(): space for node in nodes})
        self._place_segments(filled)

    def _move(self, node, space: str) -> None:
        """A view that shows the other space now keeps its zoom and shows the same anatomy."""
        former = self._spaces.get(node.GetID())
        self._spaces[node.GetID()] = space
        if former not in (None, space):
            node.JumpSliceByCentering(*self.correspondence.find(spaces.get_centre(node), space))

    def _place_segments(self, filled: bool) -> None:
        """Each segmentation is drawn in the views of its space alone."""
        show = self.segment_views.show_in
        show(self._present(self.template_segmentation), self._list_views(TEMPLATE), filled)
        show(self._present(self.outputs.warpedSegmentation), self._list_views(TARGET))
        slices = {node.GetID() for node in spaces.list_slice_nodes()}
        own = [view for view in self._list_views(TARGET) if view in slices]  # in 3-D it would hide the carried ones
        show(self._present(self.target_segmentation), own, filled=False)
        self.images.place_grid(self._list_view_nodes(TEMPLATE))

    def _hide_segments(self) -> None:
        for node in (self.template_segmentation, self.target_segmentation, self.outputs.warpedSegmentation):
            self.segment_views.show_in(self._present(node), [])

    def _list_views(self, space: str) -> list[str]:
        return [id_ for id_, shown in self._spaces.items() if shown == space and slicer.mrmlScene.GetNodeByID(id_)]

    def _list_view_nodes(self, space: str) -> list:
        """The slice views of a space."""
        return [node for node in spaces.list_slice_nodes() if self._spaces.get(node.GetID()) == space]

    def _set_layout(self, layout: int) -> None:
        manager = slicer.app.layoutManager()
        if manager and manager.layout != layout:
            manager.setLayout(layout)
            slicer.app.processEvents()  # so that new views have their sizes

    def _leave_own_layouts(self) -> None:
        """Leave the layouts that this class has chosen; one that the user has chosen stays."""
        known, manager = slicer.vtkMRMLLayoutNode, slicer.app.layoutManager()
        if manager and manager.layout in (known.SlicerLayoutThreeOverThreeView, known.SlicerLayoutDual3DView):
            self._set_layout(known.SlicerLayoutFourUpView)

    def is_present(self, node) -> bool:
        """Whether it is a node of the scene."""
        return bool(node) and bool(slicer.mrmlScene.IsNodePresent(node))

    def _present(self, node):
        return node if self.is_present(node) else None


def _list_composites() -> list:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def _set_layers(composite, background, foreground=None, opacity: float = 0.0) -> None:
    composite.SetBackgroundVolumeID(background.GetID())
    composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
    composite.SetForegroundOpacity(opacity)
