"""SlicReg: learned registration of CT scans by supervoxels.

Slicer loads this file. The panel and the logic are in SlicRegSlicer, the method is in SlicRegLib.
"""

import unittest

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from SlicRegLib.errors import UserError
from SlicRegSlicer import sample
from SlicRegSlicer.logic import SlicRegLogic
from SlicRegSlicer.panel import SlicRegWidget  # noqa: F401 (Slicer looks for it here)
from SlicRegSlicer.requirements import find_missing
from SlicRegSlicer.transform_storage import watch_scene

HOMEPAGE = "https://github.com/SlicReg/SlicReg"
PAPER = "https://openreview.net/forum?id=zZA5TpNdC4Z"
"""As in CITATION.cff."""


class SlicReg(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened. Once Slicer has started, it offers the sample data and
    watches how loaded transforms are to be saved."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("SlicReg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = ["SlicReg contributors (SlicReg)"]
        parent.helpText = _(
            "Aligns a CT scan (the target) with a reference scan of another patient (the template), without landmarks. "
            "Organs that were outlined on the template are carried to the target. "
            "Choose a target, and a template unless the model has its own, then press Apply. "
            "The result says whether it can be used, and where to look. "
            '<p><a href="{homepage}/blob/main/docs/slicer.md">Documentation</a>, '
            '<a href="{homepage}/blob/main/docs/tutorial.md">tutorial</a>, '
            '<a href="{homepage}/issues">questions and problems</a>.</p>'
        ).format(homepage=HOMEPAGE)
        parent.acknowledgementText = _(
            'The method is Slic-Reg: <a href="{paper}">M. P. Heinrich, Medical Imaging with Deep Learning, 2021</a>. '
            'Contributors: <a href="{homepage}/graphs/contributors">list</a>.'
        ).format(paper=PAPER, homepage=HOMEPAGE)
        slicer.app.connect("startupCompleted()", sample.register)
        slicer.app.connect("startupCompleted()", watch_scene)


class SlicRegTest(ScriptedLoadableModuleTest):
    """Self-test on a phantom pair. ctest runs each ``test_`` method, "Reload and Test" runs `runTest`."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.template, self.templateLabels, self.target, self.targetLabels = sample.load()

    def runTest(self):
        """All tests; one that is skipped, as without the Python packages, is no failure."""
        for name in sorted(n for n in dir(self) if n.startswith("test_")):
            self.setUp()
            try:
                getattr(self, name)()
            except unittest.SkipTest as reason:
                self.delayDisplay(_("{name} was skipped: {reason}").format(name=name, reason=reason))

    def test_register(self):
        """The mean Dice at least doubles, and the outputs lie on the grids of template and target."""
        if find_missing():
            self.skipTest(_("the Python packages are not installed"))
        self.delayDisplay(_("Registering the phantom pair"))
        result = SlicRegLogic().register(
            self.template,
            self.target,
            model="trunk-phantom",
            templateSegmentation=self.templateLabels,
            targetSegmentation=self.targetLabels,
        )
        self.assertIn(result.verdict["word"], ("good", "doubtful", "failed"))
        self.assertTrue(result.verdict["sentence"] and result.verdict["least_sure"])
        self.assertEqual(result.transform.GetAttribute("SlicReg.verdict"), result.verdict["word"])
        before, after = (result.report[when]["mean_dice"] for when in ("before", "after"))
        self.assertGreater(after, 2 * before)
        self.assertEqual(
            result.warpedTarget.GetImageData().GetDimensions(), self.template.GetImageData().GetDimensions()
        )
        names = [self.templateLabels.GetSegmentation().GetNthSegment(i).GetName() for i in range(13)]
        carried = result.warpedSegmentation.GetSegmentation()
        self.assertEqual([carried.GetNthSegment(i).GetName() for i in range(13)], names)
        warped, template = (slicer.util.arrayFromVolume(v).astype(float) for v in (result.warpedTarget, self.template))
        self.assertGreater(np.corrcoef(warped.ravel(), template.ravel())[0, 1], 0.8)

    def test_same_volume_is_refused(self):
        """A user's mistake raises UserError and leaves the scene unchanged."""
        count = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaises(UserError):
            SlicRegLogic().register(self.template, self.template, model="trunk-phantom")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)
