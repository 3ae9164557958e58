"""A process that works in a job folder and does nothing: ``python fake_job.py FOLDER``; for tests of process control.

It starts in a fraction of a second, since it imports nothing heavy.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from SlicRegLib.jobs import ownership
from SlicRegLib.jobs.options import JobOptions, write_config
from SlicRegLib.jobs.status import JobState, write_state


def start_fake_job(folder: str | Path, options: JobOptions | None = None) -> int:
    """In place of `SlicRegLogic.startTraining`: write the options and start a process that owns ``folder``.

    Returns the process's number.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    if options:
        write_config(folder, options)
    process = subprocess.Popen([sys.executable, __file__, str(folder)], start_new_session=True)
    ownership.children.append(process)
    deadline = time.monotonic() + 30
    while not ((owner := ownership.find_owner(folder)) and owner.pid == process.pid):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    return process.pid


if __name__ == "__main__":
    job_folder = Path(sys.argv[1])
    write_state(job_folder, JobState("running", "teacher", 0.5, 0.2, 60.0, "2 of 4: pt_2", updated=time.time()))
    with ownership.claim_folder(job_folder):
        time.sleep(300)
