"""A job that trains nothing, for tests of process control: ``python fake_job.py --out FOLDER [--helpers N] ...``.

It owns FOLDER, writes one state and waits. It starts in a fraction of a second, since it imports nothing heavy. It runs
in place of `slicreg learn` with ``control.start(folder, command=FAKE_JOB)``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from SlicRegLib.jobs import control, lock
from SlicRegLib.jobs.options import JobOptions, write_config
from SlicRegLib.jobs.status import JobState, write_state

FAKE_JOB = (str(Path(__file__).resolve()),)
"""The argument ``command`` of `control.start`."""
STATE = JobState("running", "teacher", 0.5, 0.2, 60.0, "2 of 4: pt_2")
"""What the job writes."""


def start_fake_job(folder: str | Path, options: JobOptions | None = None) -> int:
    """In place of `SlicRegLogic.startTraining`: write the options and start a process that owns ``folder``.

    Returns the process's number.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    if options:
        write_config(folder, options)
    return control.start(folder, command=FAKE_JOB)


def work(folder: Path, helpers: int) -> None:
    with lock.claim_folder(folder):
        children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) for _ in range(helpers)]
        write_state(folder, JobState(**{**vars(STATE), "updated": round(time.time(), 1)}))
        for child in children:
            child.wait()
        time.sleep(300)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--helpers", type=int, default=0)
    given, _ = parser.parse_known_args()
    work(given.out, given.helpers)
