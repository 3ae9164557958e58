"""Registration for scripts: MRML nodes in, MRML nodes out. No GUI except the question whether to install packages."""

from __future__ import annotations

import contextlib
import os
import pathlib
from dataclasses import replace

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from SlicRegLib import MODELS
from SlicRegLib.errors import UserError
from SlicRegLib.jobs import control
from SlicRegLib.jobs.arguments import write_arguments
from SlicRegLib.jobs.batch import Batch
from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.jobs.python import find_python, make_environment
from SlicRegLib.jobs.worker_pool import POOL
from SlicRegLib.registration.installed_models import list_models
from SlicRegLib.registration.model_header import AUTO, ModelHeader

from .carry import carry_node
from .findings import Finding
from .gpus import list_gpus
from .installing import install
from .parameters import SlicRegParameterNode
from .request import Outputs, Request, find_user_models
from .requirements import describe_missing, find_missing, require_packages
from .run import Run
from .scene_batch import make_scene_batch
from .selfcheck import check_installation
from .training_request import make_check_request
from .translation import _
from .waiting import handle_events


class SlicRegLogic(ScriptedLoadableModuleLogic):
    """Registration for scripts. In Slicer's Python console::

    from SlicReg import SlicRegLogic
    template, target = slicer.util.getNode("template"), slicer.util.getNode("scan")
    result = SlicRegLogic().register(template, target, model="headneck-openkbp")
    slicer.util.setSliceViewerLayers(background=template, foreground=result.warpedTarget, foregroundOpacity=0.5)
    print(result.verdict["word"], result.verdict["sentence"])
    """

    _timers: list = []  # of registrations in the background: without a reference a timer would be deleted
    _findings: list[Finding] | None = None  # of the last check of the installation

    def getParameterNode(self):
        return SlicRegParameterNode(super().getParameterNode())

    def registerInBackground(
        self, template=None, target=None, model=None, onProgress=None, onFinished=None, **options
    ) -> Run:
        """As `register`, but returns at once.

        onProgress: as ``progress`` there. onFinished: called with the `Run`, whose state is "finished" (see
        ``outputs``), "failed" (see ``error``) or "cancelled" (by its `cancel`).
        """
        import qt

        run, timer = self.start(Request(template, target, self.model(model), **options)), qt.QTimer()

        def poll():
            if run.poll() == "running":
                return onProgress and onProgress(run.fraction, run.message, run.remaining)
            timer.stop()
            self._timers.remove(timer)
            return onFinished and onFinished(run)

        timer.setInterval(50)
        timer.connect("timeout()", poll)
        timer.start()
        self._timers.append(timer)
        return run

    def register(self, template=None, target=None, model=None, progress=None, **options) -> Outputs:
        """Register ``target`` to ``template`` (volume nodes) and wait for the result. Raises UserError, also where
        Python packages are missing: `installed` installs them.

        template: None takes the one that the model holds, with its segments: `Outputs.warpedSegmentation` and
        report["organs"] then are what they are on the target. model: name or path; None takes the installed one that
        knows both scans best. progress: called with (fraction, stage, seconds left or None); an exception in it cancels
        the registration. options: the other fields of `Request`, such as
        templateSegmentation, the output nodes, device and iterations.
        """
        run = self.start(Request(template, target, self.model(model), **options))
        try:
            while run.poll() == "running":
                if progress:
                    progress(run.fraction, run.message, run.remaining)
                handle_events()
        finally:
            run.cancel()  # does nothing unless an exception ended the loop
        if run.state == "failed":
            raise UserError(run.error)
        return run.outputs

    def start(self, request: Request) -> Run:
        """Start a registration and return at once; call the result's `poll` until its state is not "running"."""
        require_packages()
        return Run(request)

    def warmUp(self, model=None) -> None:
        """Start the process that registers, so that it has loaded PyTorch and the ``model`` when it is needed. Returns
        at once. Does nothing where packages are missing."""
        if not find_missing():
            with contextlib.suppress(UserError):  # which the registration will tell
                path = self.model(model)
                POOL.warm_up("" if path == str(AUTO) else path)

    def close(self) -> None:
        """End that process, unless a registration runs in it: then it ends afterwards."""
        POOL.close()

    def batch(self, request: Request, out, volumes=None, folder=None, labels=None) -> Batch:
        """Registrations of ``volumes`` (nodes) or of a ``folder`` of files to the request's template, into ``out``.
        labels: a folder of label files with the names of those in ``folder``, to measure Dice."""
        require_packages()
        return make_scene_batch(request, pathlib.Path(out), volumes, folder, labels)

    def carry(self, node, transform, direction="template-to-target"):
        """A copy of markups (points, lines, curves) or of a model where the ``transform`` of a result takes it. The
        other direction is "target-to-template". Raises UserError."""
        return carry_node(node, transform, direction)

    def checkScans(self, options: JobOptions, folder) -> CommandProcess:
        """Check the scans of a training; the findings go to ``folder``. Call the result's `poll` until its state is not
        "running"."""
        require_packages()
        POOL.free_memory()
        return CommandProcess(["check", *write_arguments(make_check_request(options, folder))])

    def startTraining(self, folder, options: JobOptions | None = None) -> None:
        """Start a training that continues when Slicer is closed; without ``options``, resume the one in ``folder``.

        The finished model is copied to the user's models. `SlicRegLib.jobs` watches, pauses and stops the training.
        """
        require_packages()
        words = write_arguments(replace(options, models=str(self.userModels()))) if options else []
        POOL.close()  # a training needs its memory more
        python = find_python()
        control.start(folder, words, python, make_environment(python), control.LEARN, handle_events)

    def models(self) -> list[ModelHeader]:
        """Bundled models, then the user's own."""
        return list_models(MODELS, self.userModels())

    def model(self, name=None) -> str:
        """The path of the model with this name or path; without a name `AUTO`: the one that knows the scans best."""
        if not name or str(name) == str(AUTO):
            return str(AUTO)
        if name and os.path.isfile(str(name)):
            return os.path.abspath(name)
        models = self.models()
        found = [m for m in models if str(name) in (m.name, pathlib.Path(m.path).stem)]
        if not found:
            raise UserError(
                _("There is no model {name}; the models are: {names}.").format(
                    name=name, names=", ".join(m.name for m in models)
                )
            )
        return str(found[0].path)

    @staticmethod
    def userModels() -> pathlib.Path:
        """The folder of the user's models."""
        return find_user_models()

    def gpus(self) -> list[tuple[str, str]]:
        """[("cuda:0", its name), ...] without importing torch."""
        return list_gpus()

    def installed(self, ask=False, progress=lambda stage, share, details: None) -> bool:
        """Whether all Python packages are installed.

        ask: ask the user whether to install what is missing, and install it. Raises UserError where that fails.
        """
        if not find_missing():
            return True
        if not ask or not slicer.util.confirmOkCancelDisplay(describe_missing(), _("Install Python packages")):
            return False
        install(progress)
        return True

    def checkInstallation(self) -> tuple[str, bool]:
        """Compute on each device in a process of its own: (findings and cures as text, whether `repair` can help)."""
        self._findings = check_installation()
        lines = [
            f"{'OK ' if f.ok else '!! '} {f.title}: {f.detail}" + ("" if f.ok else f"\n    {f.cure}")
            for f in self._findings
        ]
        return "\n".join(lines), any(f.repair for f in self._findings)

    def repair(self) -> None:
        """Install what the last check found to be missing, too old or broken, and nothing else. Without a check before,
        make one."""
        findings = check_installation() if self._findings is None else self._findings
        self._findings = None
        install(broken=list(dict.fromkeys(name for finding in findings for name in finding.repair)))
