"""The buttons that show a result in the views."""

from __future__ import annotations

from .review import Review
from .spaces import LayoutChange, SegmentViews
from .translation import _
from .widgets import DisplayErrors, WaitCursor, make_timer

FLICKER_MS = 600
WITH_MAPS = ("confidence", "displacement", "volumeChange", "supervoxels", "grid")
"""Buttons that need the confidence or the supervoxels; the confidence also says where the body is."""


class ReviewButtons:
    """A result is shown in one way at a time; the deformed grid can be added to each that shows the template."""

    def __init__(self, ui):
        self.ui = ui
        self.review: Review | None = None
        self.onChanged = lambda: None
        """Called when there is another result to show, or none any more."""
        self._segmentViews = SegmentViews()
        self._elsewhere = LayoutChange(self._segmentViews.restore)
        self._place = -1  # of the least sure places the one that was shown last
        self._waiting = False  # the result came while the user was in another module
        on_template = " " + _("All views show the template's space.")
        self._views = {
            "sideBySide": (
                Review.show_side_by_side,
                _("Above: the template with its segments. Below: the target where it lies, with the carried segments."),
            ),
            "onTarget": (
                Review.show_on_target,
                _("The target where it lies, with the carried segments; its own segments as outlines."),
            ),
            "onTemplate": (
                Review.show_on_template,
                _("The target, warped to the template, with the template's segments."),
            ),
            "surfaces": (
                Review.show_surfaces,
                _("3D: the template's segments, and beside them the carried ones. Slices: the target."),
            ),
            "blend": (Review.blend, _("Template and warped target, half and half.") + on_template),
            "flicker": (self._flicker, _("Template and warped target in turn.") + on_template),
            "checkerboard": (
                Review.show_checkerboard,
                _("Template and warped target in the fields of a checkerboard.") + on_template,
            ),
            "difference": (
                Review.show_difference,
                _("Template minus warped target: white where they agree.") + on_template,
            ),
            "confidence": (
                Review.show_confidence,
                _("How well the transform agrees with the network, over the template.") + on_template,
            ),
            "displacement": (
                Review.show_displacement,
                _("How far the transform moves each place of the template.") + on_template,
            ),
            "volumeChange": (
                Review.show_volume_change,
                _("Blue: smaller in the target; red: larger; magenta: folded.") + on_template,
            ),
            "supervoxels": (
                Review.show_supervoxels,
                _("The supervoxels that the network found in the target, which is shown where it lies."),
            ),
        }
        """Name of the button -> (what shows the view of a `Review`, what is said of it)."""
        self._flickerTimer = make_timer(FLICKER_MS, self.onFlicker)
        for name in self._views:
            self._button(name).connect("clicked(bool)", lambda on, name=name: self.onView(name, on))
        self._tips = {name: self._button(name).toolTip for name in WITH_MAPS}
        self.ui.gridButton.connect("clicked(bool)", self.onGrid)
        self.ui.leastSureButton.connect("clicked(bool)", self.onLeastSure)
        self.ui.applyTransformCheckBox.connect("clicked(bool)", self.onApplyTransform)

    def makeReview(self, request, outputs) -> Review:
        """A review of a `SlicRegSlicer.request.Request` and its outputs."""
        return Review(
            request.template or outputs.template,
            request.target,
            outputs,
            request.templateSegmentation or outputs.templateSegmentation,
            request.targetSegmentation,
            self._segmentViews,
        )

    def show(self, review: Review, now: bool = True) -> None:
        """Enable the buttons for a result and show it side by side.

        now: False if the views belong to another module; then they change when the user comes back, see `enter`.
        """
        if self.review:
            self.review.leave_views()
        self.review = review
        self._enable(True)
        for name in () if review.has_maps() else WITH_MAPS:
            self._button(name).enabled = False
            self._button(name).toolTip = _("A batch does not write this; press Apply for this scan to see it.")
        self._place = -1
        self.ui.leastSureButton.enabled = bool(review.find_least_sure())
        self.ui.surfacesButton.enabled = review.has_segments()
        self.ui.applyTransformCheckBox.checked = review.is_applied()
        self.ui.applyTransformCheckBox.enabled = review.can_apply()  # its tool tip says when it cannot
        self._waiting = not now
        if now:
            self._showFirst()

    def enter(self) -> None:
        """The user comes back to the module."""
        changed = self._elsewhere.stop()
        if not self.review or not self.review.is_alive():
            return
        shown = next((name for name in self._views if self._button(name).checked), None)
        if self._waiting:
            self._showFirst()
        elif changed and shown:
            self.onView(shown)
        elif shown == "sideBySide":
            self.review.resume()

    def leave(self) -> None:
        """The user goes to another module, to which the views then belong. In another layout, where the views that show
        the target may be missing, its segments are drawn as before."""
        if self.ui.flickerButton.checked:
            self.onView("blend")
        if self.review:
            self.review.pause()
            self._elsewhere.start()

    def close(self, forGood: bool = True) -> None:
        """Remove from the views what belongs to the last result, and disable the buttons. forGood: no result comes."""
        self._flickerTimer.stop()
        self._elsewhere.stop()
        self._waiting = False
        if self.review:  # also where a node was deleted: its views would go on following each other
            if not forGood and self.review.is_applied():
                self.review.apply_transform(False)  # a target under it could not be registered
            self.review.close(forGood)
        self.review = None
        self._enable(False)

    def onView(self, name: str, on: bool = True) -> None:
        """Show one view; a click on the button of the view that is shown leads back to the first one."""
        self._flickerTimer.stop()
        if not self._isAlive():
            return
        if not on:
            name = "sideBySide"
        for other in self._views:
            self._button(other).checked = other == name
        show, text = self._views[name]
        with DisplayErrors(), WaitCursor():
            show(self.review)
        self.ui.viewLabel.text = text

    def onFlicker(self) -> None:
        if self.review and self.review.is_alive():
            self.review.flick()
        else:
            self._flickerTimer.stop()

    def onGrid(self, on: bool) -> None:
        if self._isAlive():
            with DisplayErrors(), WaitCursor():
                self.review.show_grid(on)

    def onLeastSure(self, clicked=False) -> None:
        """Go to the next of the least sure places, from the worst one on; the target's views go where it lies there."""
        if not self._isAlive():
            return
        places = self.review.find_least_sure()
        self._place = (self._place + 1) % len(places)
        *point, confidence = places[self._place]
        self.review.centre(*point)
        self.ui.leastSureButton.text = _("Least sure place {n} of {total}: confidence {confidence:.2f}").format(
            n=self._place + 1, total=len(places), confidence=confidence
        )

    def onApplyTransform(self, on: bool) -> None:
        if self._isAlive():
            with WaitCursor():
                self.review.apply_transform(on)

    def _showFirst(self) -> None:
        self._waiting = False
        self.onView("sideBySide")
        self.review.fit()

    def _isAlive(self) -> bool:
        """Whether there is a result to show; if a node of it was deleted, the user is told."""
        if self.review and self.review.is_alive():
            return True
        self.close()
        self.ui.summaryLabel.text = _("A node of this result was deleted. Press Apply to register again.")
        return False

    def _flicker(self, review: Review) -> None:
        review.blend(1.0)
        self._flickerTimer.start()

    def _button(self, name: str):
        return getattr(self.ui, f"{name}Button")

    def _enable(self, enabled: bool) -> None:
        for name in (*self._views, "grid"):
            button = self._button(name)
            button.enabled = enabled
            button.checked = False
            button.toolTip = self._tips.get(name, button.toolTip)
        self.ui.viewLabel.text = ""
        self.ui.leastSureButton.enabled = enabled
        self.ui.leastSureButton.text = _("Least sure place")
        self.ui.applyTransformCheckBox.enabled = enabled
        self.ui.applyTransformCheckBox.checked = False
        self.onChanged()
