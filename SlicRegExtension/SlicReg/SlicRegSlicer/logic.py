"""Registration for scripts: MRML nodes in, MRML nodes out; no GUI but the question whether to install."""

import os
import pathlib
import time
from dataclasses import replace

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from SlicRegLib import MODELS
from SlicRegLib.errors import UserError
from SlicRegLib.jobs import control
from SlicRegLib.jobs.arguments import write_arguments
from SlicRegLib.jobs.batch import Batch
from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.jobs.options import CheckRequest, JobOptions
from SlicRegLib.jobs.python import find_python, make_environment
from SlicRegLib.registration import model_header

from . import installation
from .parameters import SlicRegParameterNode
from .run import Outputs, Request, Run, make_batch
from .translation import _


class SlicRegLogic(ScriptedLoadableModuleLogic):
    """Registration for scripts. In Slicer's Python console::

    from SlicReg import SlicRegLogic
    template, target = slicer.util.getNode("template"), slicer.util.getNode("scan")
    result = SlicRegLogic().register(template, target, model="headneck-openkbp")
    slicer.util.setSliceViewerLayers(background=template, foreground=result.warpedTarget, foregroundOpacity=0.5)
    print(result.report["seconds"], result.report["folding_percent"])
    """

    _timers: list = []  # of registrations in the background: a timer lives as long as somebody holds it

    def getParameterNode(self):
        return SlicRegParameterNode(super().getParameterNode())

    def registerInBackground(self, template, target, model=None, onProgress=None, onFinished=None, **options) -> Run:
        """As `register`, but returns at once. onProgress: as progress there. onFinished: called with the `Run`, whose state is
        "finished" (see ``outputs``), "failed" (see ``error``) or "cancelled" (by its `cancel`)."""
        import qt

        run, timer = self.start(Request(template, target, self.model(model), **options)), qt.QTimer()

        def poll():
            if run.poll() == "running":
                return onProgress and onProgress(run.fraction, run.message, run.remaining)
            timer.stop()
            self._timers.remove(timer)
            return onFinished and onFinished(run)

        timer.setInterval(100)
        timer.connect("timeout()", poll)
        timer.start()
        self._timers.append(timer)
        return run

    def register(self, template, target, model=None, progress=None, **options) -> Outputs:
        """Register ``target`` to ``template`` (MRML volumes) and wait for it.

        model: name or path; None takes the first bundled one. progress: called with (fraction, stage, seconds left or None);
        where it raises, the registration is cancelled. options: those of `Request`, among them templateSegmentation,
        targetSegmentation, the output nodes, device, iterations, alpha, neighbours, seed, refine. Raises UserError.
        """
        run = self.start(Request(template, target, self.model(model), **options))
        try:
            while run.poll() == "running":
                if progress:
                    progress(run.fraction, run.message, run.remaining)
                slicer.app.processEvents()
                time.sleep(0.05)
        finally:
            run.cancel()  # where an exception ended the wait; else there is nothing to end
        if run.state == "failed":
            raise UserError(run.error)
        return run.outputs

    def start(self, request: Request) -> Run:
        """Start a registration and return at once; call the result's `poll` until its state is not "running"."""
        return Run(request)

    def batch(self, request: Request, out, volumes=None, folder=None) -> Batch:
        """The registrations of ``volumes`` (nodes) or of a ``folder`` of files to the request's template, into ``out``."""
        return make_batch(request, pathlib.Path(out), volumes, folder)

    def checkScans(self, request: CheckRequest) -> CommandProcess:
        """Look at the scans of a training; call the result's `poll` until its state is not "running"."""
        return CommandProcess(["check", *write_arguments(request)])

    def startTraining(self, folder, options: JobOptions | None = None) -> None:
        """Start a training that goes on when Slicer is closed; without ``options``, go on with the one that stands in the folder.

        The finished model is copied to the user's models. `SlicRegLib.jobfolder` looks at it, pauses and stops it.
        """
        words = write_arguments(replace(options, models=str(self.userModels()))) if options else []
        python = find_python()
        control.start(folder, words, python, make_environment(python))

    def models(self):
        """Bundled models, then the user's own."""
        return model_header.list_models(MODELS, self.userModels())

    def model(self, name=None) -> str:
        """The path of the model with this name or path."""
        if name and os.path.isfile(str(name)):
            return str(name)
        found = [m for m in self.models() if not name or m.name == str(name) or pathlib.Path(m.path).stem == str(name)]
        if not found:
            raise UserError(
                _("There is no model {name}; the models are: {names}.").format(
                    name=name, names=", ".join(m.name for m in self.models())
                )
            )
        return str(found[0].path)

    @staticmethod
    def userModels() -> pathlib.Path:
        """Beside the user's settings; Slicer's cache would be emptied."""
        return pathlib.Path(slicer.app.slicerUserSettingsFilePath).parent / "SlicReg" / "Models"

    def gpus(self):
        """[("cuda:0", its name), ...] without importing torch."""
        return installation.gpus()

    def installed(self, ask=False, progress=lambda stage, share, details: None, training=False) -> bool:
        """Whether the Python packages are there, with ``training`` also those of the teacher; with ``ask``, the user is asked
        once and they are installed."""
        if not installation.missing(training):
            return True
        if not ask or not slicer.util.confirmOkCancelDisplay(
            installation.summary(training), _("Install Python packages")
        ):
            return False
        installation.install(progress, training=training)
        return True

    def checkInstallation(self) -> tuple[str, bool]:
        """A real operation on each device, each in its own process: what is wrong and what to do, and whether nothing works."""
        found = installation.check()
        lines = [
            f"{'OK ' if f.ok else '!! '} {f.title}: {f.detail}" + ("" if f.ok else f"\n    {f.cure}") for f in found
        ]
        return "\n".join(lines), any(f.blocking and not f.ok for f in found)

    def repair(self) -> None:
        """Install what is missing, and PyTorch again."""
        installation.install(reinstall_torch=not installation.missing())
