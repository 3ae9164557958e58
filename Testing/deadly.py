"""Functions that fail or end their process; in a module without heavy imports that a worker process can import."""

import json
import os
import signal
import time
from pathlib import Path

from SlicRegLib.errors import UserError, WriteError


def square(number: int) -> int:
    """Of most numbers; each kind of failure has its own."""
    match number:
        case 3:
            os.kill(os.getpid(), signal.SIGKILL)
        case 5:
            raise MemoryError
        case 6:
            raise ZeroDivisionError("no idea")
        case 7:
            raise UserError("Seven is wrong.")
    return number * number


def die_once(path: Path) -> str:
    """The process dies at a file that does not exist, and makes it."""
    if not path.exists():
        path.touch()
        os._exit(1)
    return path.name


def get_pid(_) -> int:
    return os.getpid()


def sleep_and_get_pid(_) -> int:
    time.sleep(0.2)  # so that another process takes the next item
    return os.getpid()


def fill_disk(number: int) -> int:
    if number == 1:
        raise WriteError("The disk is full.")
    return number


def register(request) -> None:
    """Takes the place of a registration: writes the files that a batch looks for, and dies in pt_2."""
    request.out.mkdir(parents=True, exist_ok=True)  # another one may have been hit after its own work
    if request.target.name.startswith("pt_2"):
        (request.out / ".slicreg-part").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    write_results(request)


def register_on_worker(request) -> str:
    """The same on a cluster, but only the first attempt at pt_2 dies, and pt_3 fails."""
    log = request.out.with_name("log")
    if request.target.name.startswith("pt_3"):
        return "No body was found."
    first = not log.exists() or "pt_2" not in log.read_text()
    with log.open("a") as file:
        file.write(f"{request.out.name} {os.getpid()}\n")
    if request.target.name.startswith("pt_2") and first:
        (request.out / ".slicreg-part").mkdir(parents=True)
        os.kill(os.getpid(), signal.SIGKILL)
    write_results(request)
    return ""


def write_elsewhere(request) -> str:
    """On a cluster whose workers do not share the output folder: it is empty, as seen from here."""
    request.out.mkdir(parents=True)
    return ""


def write_results(request) -> None:
    """Empty files and a report, as a batch looks for them."""
    request.out.mkdir(parents=True, exist_ok=True)
    for name in ("transform.h5", "transform_inverse.h5", "warped_target.nii.gz"):
        (request.out / name).touch()
    report = {"seconds": {"total": 1.0}, "folding_percent": 0.0, "verdict": {"word": "good", "sentence": ""}}
    (request.out / "report.json").write_text(json.dumps(report))
