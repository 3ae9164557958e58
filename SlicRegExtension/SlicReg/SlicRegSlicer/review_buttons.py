"""The buttons that show a result in the slice views."""

from __future__ import annotations

from .review import Review
from .translation import _
from .widgets import make_timer

FLICKER_MS = 600


class ReviewButtons:
    """Template and warped target are compared in one way at a time; the deformed grid can be added to each."""

    def __init__(self, ui):
        self.ui = ui
        self.review: Review | None = None
        self._place = -1  # of the least sure places the one that was shown last
        self._views = {
            "flicker": self._flicker,
            "checkerboard": lambda on: self.review.show_checkerboard() if on else self.review.blend(),
            "blend": lambda on: self.review.blend(0.5 if on else 0.0),
            "confidence": lambda on: self.review.show_confidence(on),
            "supervoxels": lambda on: self.review.show_supervoxels(on),
        }
        self._flickerTimer = make_timer(FLICKER_MS, self.onFlicker)
        for name in self._views:
            self._button(name).connect("clicked(bool)", lambda on, name=name: self.onView(name, on))
        self.ui.gridButton.connect("clicked(bool)", self.onGrid)
        self.ui.leastSureButton.connect("clicked(bool)", self.onLeastSure)

    def show(self, review: Review) -> None:
        """Enable the buttons for a result and blend its scans."""
        self.review = review
        self._enable(True)
        self._place = -1
        self.ui.leastSureButton.enabled = bool(review.find_least_sure())
        self.ui.blendButton.checked = True
        review.blend()

    def close(self) -> None:
        """Remove from the views what belongs to the last result, and disable the buttons."""
        self._flickerTimer.stop()
        if self.review and self.review.is_alive():
            self.review.close()
        self.review = None
        self._enable(False)

    def stopFlicker(self) -> None:
        """Called when the user goes to another module, to which the views then belong."""
        self._flickerTimer.stop()
        self.ui.flickerButton.checked = False

    def onView(self, name: str, on: bool) -> None:
        self._flickerTimer.stop()
        if not self._isAlive():
            return
        for other in self._views:
            if other != name:
                self._button(other).checked = False
        self.review.show_supervoxels(False)
        self._views[name](on)

    def onFlicker(self) -> None:
        if self.review and self.review.is_alive():
            self.review.flick()
        else:
            self._flickerTimer.stop()

    def onGrid(self, on: bool) -> None:
        if self.review and self.review.is_alive():
            self.review.show_grid(on)

    def onLeastSure(self, clicked=False) -> None:
        """Go to the next of the least sure places, from the worst one on; they are places of the template."""
        if not self._isAlive():
            return
        if self.ui.supervoxelsButton.checked:  # these are shown over the target
            self.ui.blendButton.checked = True
            self.onView("blend", True)
        places = self.review.find_least_sure()
        self._place = (self._place + 1) % len(places)
        *point, confidence = places[self._place]
        self.review.centre(*point)
        self.ui.leastSureButton.text = _("Least sure place {n} of {total}: confidence {confidence:.2f}").format(
            n=self._place + 1, total=len(places), confidence=confidence
        )

    def _isAlive(self) -> bool:
        """Whether there is a result to show; if a node of it was deleted, the user is told."""
        if self.review and self.review.is_alive():
            return True
        self.close()
        self.ui.summaryLabel.text = _("A node of this result was deleted. Press Apply to register again.")
        return False

    def _flicker(self, on: bool) -> None:
        self.review.blend(1.0 if on else 0.5)
        if on:
            self._flickerTimer.start()

    def _button(self, name: str):
        return getattr(self.ui, f"{name}Button")

    def _enable(self, enabled: bool) -> None:
        for name in (*self._views, "grid"):
            button = self._button(name)
            button.enabled = enabled
            button.checked = False
        self.ui.leastSureButton.enabled = enabled
        self.ui.leastSureButton.text = _("Least sure place")
