"""`slicreg register` without a registration: ``python fake_register.py register ...``; for tests of batches.

It writes the files of a result, and fails for a target whose name is noise.nrrd.
"""

from __future__ import annotations

import json
import sys

from SlicRegLib.cli.parser import parse
from SlicRegLib.jobs.batch_rows import RESULTS

VERDICT = {"word": "doubtful", "sentence": "Look at the liver."}
REPORT = {"seconds": {"total": 1.5}, "folding_percent": 0.25, "verdict": VERDICT}

if __name__ == "__main__":
    _, request, _ = parse(sys.argv[1:])
    if request.target.name == "noise.nrrd":
        sys.exit("slicreg: No body was found in noise.nrrd; check the file.")
    request.out.mkdir(parents=True)
    for name in RESULTS:
        (request.out / name).touch()
    (request.out / "report.json").write_text(json.dumps(REPORT))
