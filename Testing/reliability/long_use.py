"""Long use: hundreds of registrations in one session of the Slicer module and of the library; does anything grow?

    python Testing/reliability/long_use.py [--only session cancel close together library] [--runs 200] [--forked]

Coarse phantoms and a tiny, untrained model, on the tests' host for Slicer modules (slicer-core and PySide6). Parts:

session   registrations through the module's logic, with segmentations and the panel loaded; each tenth makes new nodes,
          which are then removed
cancel    registrations cancelled at random moments: no change of the scene, no process, no file is left
close     the scene closed at random moments
together  two registrations at once, with the same results as one after the other; Apply is refused while one runs
library   `register` in this process, each tenth time `register_files`

--forked: the registrations' processes are forked from one that has imported PyTorch, and their inverse fields are
coarse, which takes a fifth of the time.
Prints Markdown; exit code 1 if something grew or was left.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(Path(__file__).parent), str(ROOT / "SlicRegExtension" / "SlicReg")]
PARTS = ("session", "cancel", "close", "together", "library")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--cancels", type=int, default=50)
    parser.add_argument("--closes", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slicreg-long-use-") as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)  # before anything makes a temporary folder
        server = start_server(Path(folder)) if options.forked else None
        from long_use_parts import Parts

        parts = Parts(Path(folder), temporary, options.warm_up, random.Random(options.seed))
        if server:
            parts.helpers.add(server.pid)
        numbers = {"session": options.runs, "cancel": options.cancels, "close": options.closes, "together": 5}
        good = True
        for name in options.only:
            started = time.monotonic()
            lines, passed = getattr(parts, name)(numbers.get(name, options.runs))
            print(
                "\n".join(lines), f"\n\n{'Passed' if passed else 'FAILED'} after {time.monotonic() - started:.0f} s.\n"
            )
            sys.stdout.flush()
            good = good and passed
        if server:
            server.stdin.close()
            server.wait()
    return 0 if good else 1


def start_server(folder: Path) -> subprocess.Popen:
    """Processes that look for PythonSlicer are forked from this one from now on."""
    from forked_command import make_client

    address, programs = str(folder / "server"), folder / "programs"
    programs.mkdir()
    make_client(programs, address)
    script = Path(__file__).with_name("forked_command.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "SlicRegExtension" / "SlicReg"), "MPLBACKEND": "Agg"}
    server = subprocess.Popen(
        [sys.executable, str(script), "serve", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert server.stdout.readline() == b"ready\n"
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return server


if __name__ == "__main__":
    sys.exit(main())
