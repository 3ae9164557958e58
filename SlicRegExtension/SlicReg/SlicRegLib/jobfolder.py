"""The folder of a background training: who works in it, how far it is, how to start, hold and end it.

    job.json          the configuration, written once
    .lock             held by the process that works here; it dies with the process, whatever ends it
    owner.json        who that is
    state.json        how far it is, rewritten at most twice a second
    job.log           what happened, one log of all runs
    cohort.json       the check of the scans (`cohort.save_cohort`), cohort_unusual.png
    study/            the prepared scans and the teacher's fields (`study`)
    NAME.checkpoint, NAME_curve.csv, NAME_curve.png, validation.png
    NAME.slicreg      the model
    report.html       how good it is, and what it was made from

Each file but the log is written whole or not at all: whatever ends a run, starting again goes on from the last of them.
Imports nothing heavy: Slicer watches jobs through this module.
"""

from __future__ import annotations

import contextlib
import csv
import getpass
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from .errors import UserError
from .estimate import STARTING, Estimate
from .files import atomic, forget_half_written
from .processes import WINDOWS, end_tree, tree

JOB_VERSION = 1
MAY_CHANGE = {"workers", "device", "scheduler", "models"}  # from run to run: where and how fast, not what
STATE_SECONDS = 0.5  # between two writings of the state
STAGES = {STARTING: 4.0, "check": 20.0, "supervoxels": 15.0, "teacher": 600.0, "training": 3600.0, "report": 30.0}  # seconds, before more is known
START_SECONDS = 60.0  # a job that does not work in its folder after that long did not start


@dataclass(frozen=True)
class JobOptions:
    """What a training depends on, as it stands in job.json. Paths are absolute texts; "" and None: not given."""

    name: str  # of the model
    template: str
    images: str  # a folder, or a CSV file of paths
    preset: str = "compact"
    iterations: int | None = None  # None, here and below: the preset's own
    batch: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "auto"
    workers: int = 1  # processes of the teacher
    teacher: str = "convexadam"
    deeds_dir: str = ""
    affine_first: bool = False
    scheduler: str = ""  # address of a Dask cluster that runs the teacher
    spacing_mm: float = 4.0
    shape: tuple[int, int, int] | None = None
    start: str = ""  # a model whose weights the training begins with
    labels: str = ""  # folder with labels of some scans, for the report alone
    template_label: str = ""
    models: str = ""  # folder that the finished model is copied to
    cohort: str = ""  # a line about the scans, kept in the model

    def __post_init__(self):
        if not self.name or self.name.startswith(".") or any(c in self.name for c in '/\\:*?"<>|'):
            raise UserError(f"{self.name!r} is no name for a model; use letters, digits, - and _.")
        if bool(self.labels) != bool(self.template_label):
            raise UserError("Labels are measured only with those of the template; give both, or neither.")
        for path in (self.template, self.images, self.deeds_dir, self.start, self.labels, self.template_label):
            if path and not Path(path).exists():
                raise UserError(f"{path} does not exist; check the path.")


@dataclass(frozen=True)
class Owner:
    """The process that works in a job folder."""

    pid: int
    created: float  # seconds since 1970 by the system's clock: numbers of processes are used again
    host: str
    user: str
    started: str

    def sentence(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.started}"


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    state: "absent" (no job here), "running", "paused", "finished", "failed" (``error`` says why), "stopped", or "interrupted"
    (it ended without saying so). share: of the stage, fraction: of the whole job, 0 to 1. remaining: seconds, None while unknown.
    seconds: spent in each stage by all runs. updated: seconds since 1970.
    """

    state: str = "absent"
    stage: str = ""
    share: float = 0.0
    fraction: float = 0.0
    remaining: float | None = None
    message: str = ""
    error: str = ""
    updated: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)


# ---- looking -----------------------------------------------------------------------------------------------------


def read_config(folder: str | Path) -> dict:
    """The job's configuration. Raises UserError where there is none or it is not readable."""
    path = Path(folder) / "job.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no training job (no job.json); start one with `slicreg learn`.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); start the training in another folder.") from error
    if content.get("version") != JOB_VERSION:
        raise UserError(f"{path} was written by another version of SlicReg; start the training in another folder.")
    return content


def read_state(folder: str | Path) -> JobState:
    """Never raises: a folder without a job is in the state "absent"."""
    said = last_state(folder)
    if owner := owner_of(folder):
        return replace(said, state="paused" if _held(owner) else "running", error="")
    return replace(said, state="interrupted", remaining=None) if said.state == "running" else said


def last_state(folder: str | Path) -> JobState:
    """What the last run said, whether or not it still runs."""
    try:
        return JobState(**json.loads((Path(folder) / "state.json").read_text()))
    except (OSError, ValueError, TypeError):
        return JobState("interrupted" if os.path.isfile(Path(folder) / "job.json") else "absent")


def owner_of(folder: str | Path) -> Owner | None:
    """Who works in the folder; None if nobody does."""
    from filelock import FileLock, Timeout

    folder = Path(folder)
    for child in _children:
        child.poll()  # so that the system can forget those that ended
    for _ in range(100):  # others who look hold the lock for a moment too, and who has just taken it has not yet said who it is
        if not os.path.isfile(folder / ".lock"):
            return None
        try:
            with FileLock(folder / ".lock", timeout=0):
                return None
        except Timeout:
            pass
        except OSError:
            return None  # a folder that cannot be written to
        if (owner := _last_owner(folder)) and (owner.host != platform.node() or _alive(owner)):
            return owner
        time.sleep(0.01)
    return Owner(0, 0.0, "this computer", "somebody", "a moment ago")


def _last_owner(folder: Path) -> Owner | None:
    try:
        return Owner(**json.loads((folder / "owner.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _alive(owner: Owner) -> bool:
    """Whether the process itself lives, on this computer, and not another with its number."""
    import psutil

    try:
        return abs(psutil.Process(owner.pid).create_time() - owner.created) < 1
    except psutil.Error:
        return False


def read_curve(folder: str | Path) -> list[tuple[float, ...]]:
    """Rows of (iteration, seconds, training loss, validation loss, validation accuracy) so far."""
    try:
        name = read_config(folder)["name"]
        with open(Path(folder) / f"{name}_curve.csv", newline="") as file:
            return [tuple(float(value) for value in row) for row in list(csv.reader(file))[1:]]
    except (UserError, OSError, ValueError):
        return []


# ---- starting, holding, ending -----------------------------------------------------------------------------------


def start(folder: str | Path, arguments=(), python: str | None = None, environment: dict[str, str] | None = None) -> int:
    """Start ``slicreg learn --out FOLDER ARGUMENTS`` in a process group of its own that outlives this process; its number.

    Returns when it works in the folder. Raises UserError with its own sentence where it refuses: wrong arguments, or another
    process works there.
    """
    folder = Path(folder).absolute()
    if owner := owner_of(folder):
        raise UserError(_taken(folder, owner))
    made, began = not folder.exists(), round(time.time(), 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = open(folder / "job.log", "ab")
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be written ({error.strerror}).") from error
    with log:
        begins = log.tell()
        command = [python or sys.executable, "-m", "SlicRegLib", "learn", "--out", str(folder), "--quiet", *map(str, arguments)]
        process = _detached(command, folder, environment, log)
    _children.append(process)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = process.poll()
        if code == 0:
            return process.pid  # it was finished before
        if code is not None:
            said = (folder / "job.log").read_bytes()[begins:].decode(errors="replace").strip().splitlines()
            if made:
                with contextlib.suppress(OSError):
                    (folder / "job.log").unlink()
                    folder.rmdir()  # only if nothing else came to stand there
            raise UserError(said[-1].removeprefix("slicreg: ") if said else f"The training ended at once with code {code}.")
        # Slicer's Python is a launcher: what works in the folder may be its child
        if last_state(folder).updated >= began and (owner := owner_of(folder)) and owner.pid in {one.pid for one in tree(process.pid)}:
            return owner.pid
        time.sleep(0.05)
    end_tree(process.pid)
    raise UserError(f"The training did not start within {START_SECONDS:.0f} seconds; {folder / 'job.log'} may say why.")


def _detached(command: list[str], folder: Path, environment: dict[str, str] | None, log) -> subprocess.Popen:
    """A process that does not end with this one."""
    start = partial(subprocess.Popen, command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    if not WINDOWS:
        return start(start_new_session=True)
    flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    try:
        return start(creationflags=flags | subprocess.CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:  # where what Slicer was started by forbids it
        return start(creationflags=flags)


_children: list[subprocess.Popen] = []


def stop(folder: str | Path) -> None:
    """End the job with all its processes within two seconds; starting it again goes on. Raises UserError where none runs."""
    owner = _owner_here(folder)
    _signal(owner, "resume")  # who is held does not hear
    end_tree(owner.pid)
    if (state := read_state(folder)).state in ("interrupted", "running"):  # it was killed before it could say so
        write_state(folder, replace(state, state="stopped", remaining=None))


def pause(folder: str | Path) -> None:
    """Hold all processes of the job where they are; they keep their memory. Raises UserError where none runs."""
    import psutil

    owner = _owner_here(folder)
    for _ in range(50):  # the system takes a moment, and a child may just have been born
        _signal(owner, "suspend")
        with contextlib.suppress(psutil.Error):
            if all(process.status() == psutil.STATUS_STOPPED for process in tree(owner.pid)):
                break
        time.sleep(0.02)


def resume(folder: str | Path) -> None:
    """Let a paused job go on. Raises UserError where none runs."""
    _signal(_owner_here(folder), "resume")


def _owner_here(folder: str | Path) -> Owner:
    owner = owner_of(folder)
    if owner is None:
        raise UserError(f"No training runs in {folder}; start it first.")
    if owner.host == platform.node() and _alive(owner):
        return owner
    raise UserError(f"The training in {folder} runs elsewhere ({owner.sentence()}); stop it there.")


def _signal(owner: Owner, what: str) -> None:
    import psutil

    for process in sorted(tree(owner.pid), key=lambda one: one.pid != owner.pid):  # its leader first: it starts no more
        with contextlib.suppress(psutil.Error):
            getattr(process, what)()


def _held(owner: Owner) -> bool:
    import psutil

    try:
        return owner.host == platform.node() and psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


# ---- working -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def claimed(folder: Path):
    """Within it this process, and no other, works in the folder. Raises UserError that names the owner if there is one."""
    import psutil
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0.2)  # those who only look hold it for a moment
    try:
        lock.acquire()
    except Timeout:
        raise UserError(_taken(folder, owner_of(folder))) from None
    try:
        before = _last_owner(folder)
        if before and before.pid != os.getpid() and before.host == platform.node() and not psutil.pid_exists(before.pid):
            end_tree(before.pid, at_once=True, ended=True)  # what a killed run left behind
        owner = Owner(os.getpid(), psutil.Process().create_time(), platform.node(), getpass.getuser(),
                      time.strftime("%Y-%m-%d %H:%M:%S"))
        _write_json(folder / "owner.json", asdict(owner))
        yield
    finally:
        lock.release()


def _taken(folder: Path, owner: Owner | None) -> str:
    who = owner.sentence() if owner else "another process"
    return f"A training runs in {folder} already ({who}); stop it first or choose another folder."


def write_config(folder: Path, options: JobOptions) -> None:
    """Write the configuration, or check that it is the one that stands there: a job has one for all its runs."""
    content = json.loads(json.dumps({"version": JOB_VERSION, **asdict(options)}))
    if not (folder / "job.json").exists():
        for name in ("cohort.json", "cohort_unusual.png"):  # a check made before may have been of other scans
            (folder / name).unlink(missing_ok=True)
        _write_json(folder / "job.json", content)
        return
    before = read_config(folder)
    differing = {key for key in {*before, *content} if before.get(key) != content.get(key)}
    if fixed := sorted(differing - MAY_CHANGE):
        raise UserError(f"{folder} holds a training with another {', '.join(fixed)}; choose another folder, or give the folder "
                        "alone to go on with it.")
    if differing:
        _write_json(folder / "job.json", content)


def write_state(folder: str | Path, state: JobState) -> None:
    _write_json(Path(folder) / "state.json", asdict(state))


def _write_json(path: Path, content: dict) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=1))


def forget_interrupted_writing(folder: Path) -> None:
    """Only for the folder's owner."""
    for part in (folder, folder / "study", folder / "study" / "scans"):
        forget_half_written(part)


class Recorder:
    """The progress of a job as state.json and lines in job.log; passes it on to ``onward`` for people who look on."""

    def __init__(self, folder: Path, stages: dict[str, float], onward=None):
        """stages: typical seconds of each, in order."""
        self.folder, self.onward = folder, onward
        self.state = JobState("running", STARTING)
        self.seconds = dict(last_state(folder).seconds)  # of the runs before
        self._estimate, self._began, self._written, self._last = Estimate(stages), time.monotonic(), -1e9, time.monotonic()
        self._write()

    def expect(self, stages: dict[str, float]) -> None:
        """Better typical seconds than before."""
        self._estimate.stages = stages

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        now = time.monotonic()
        elapsed = now - self._began
        self.seconds[self.state.stage] = self.seconds.get(self.state.stage, 0.0) + now - self._last
        self._last = now
        if stage in self._estimate.stages:
            new = stage != self.state.stage
            if new:
                self.log(f"{stage} begins")
            self._estimate.update(stage, share, elapsed)
            fraction, remaining = self._estimate.at(elapsed)
            self.state = JobState("running", stage, share, fraction, remaining, details)
            if new or share >= 1 or now - self._written > STATE_SECONDS:
                self._write()
        if self.onward:
            self.onward(stage, share, details)

    def end(self, state: str, error: str = "") -> None:
        """"finished", "failed" or "stopped"."""
        done = {"fraction": 1.0, "remaining": 0.0} if state == "finished" else {"remaining": None}
        self.state = replace(self.state, state=state, error=error, **done)
        self.log(f"{state}{': ' if error else ''}{error}")
        with contextlib.suppress(OSError):  # the disk may be full: that is what is being said
            self._write()

    def log(self, text: str) -> None:
        with contextlib.suppress(OSError), open(self.folder / "job.log", "a", encoding="utf-8") as file:  # never ends a job
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _write(self) -> None:
        self._written = time.monotonic()
        write_state(self.folder, replace(self.state, updated=round(time.time(), 1),
                                         seconds={stage: round(spent, 1) for stage, spent in self.seconds.items()}))
