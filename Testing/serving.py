"""`slicreg serve` with a function in place of the registration, so that no PyTorch is loaded; for its tests."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

PROGRAM = """
import os, sys, time, types
from pathlib import Path

class Kept:
    cleared = 0
    loaded = ""
    def load_model(self, path):
        self.loaded = path
    def clear(self):
        Kept.cleared += 1

{act}

def stand_in(name, **content):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)

REPORT = {{
    "seconds": {{"total": 1.5}}, "folding_percent": 0.0, "device_reason": "CPU", "notes": [], "own_template": True,
    "verdict": {{"word": "good", "sentence": "Fine.", "least_sure": []}},
}}
stand_in("SlicRegLib.results.kept", Kept=Kept)
stand_in("SlicRegLib.results.register_files",
         register_files=lambda request, progress, kept: act(request, progress, kept) or REPORT)
stand_in("SlicRegLib.network.devices", return_free_memory=lambda: None)
from SlicRegLib.cli.main import main
sys.exit(main(["serve", *sys.argv[1:]]))
"""
STEPS = """
def act(request, progress, kept):
    for share in (0.0, 1.0):
        progress("preparation", share, str(os.getpid()))
"""
HALF = """
from SlicRegLib.results.result_folder import all_or_nothing

def act(request, progress, kept):
    with all_or_nothing(request.out) as part:
        (part / "transform.h5").write_text("half")
        progress("writing", 0.4, str(os.getpid()))
        if request.target.name.startswith("slow"):
            time.sleep(60)
"""
"""Hangs in the middle of writing where the target is called so."""


def serve_words(act: str, *words: object) -> list[str]:
    """Program and arguments of a server whose registrations are ``act(request, progress, kept)``."""
    return [sys.executable, "-c", PROGRAM.format(act=textwrap.dedent(act)), *map(str, words)]


def register_words(out: Path, target: str = "scan.nii.gz") -> list[str]:
    files = {"model": "model.slicreg", "template": "template.nii.gz", "target": target, "out": str(out)}
    return [word for name, value in files.items() for word in (f"--{name}", value)]
