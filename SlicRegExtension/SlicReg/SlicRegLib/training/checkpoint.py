"""The checkpoint of a training run: written completely or not at all, and refused by any other run."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..images.files import atomic
from .run import TrainingRun

RESTART = "delete it and start again (train: without --resume)"


def save_checkpoint(path: Path, run: TrainingRun) -> None:
    """Write the state of ``run`` and what identifies it: its options, its scans, and the weights it started from."""
    content = {"options": _dump_options(run), "start": run.start, "scans": run.scans, **run.state_dict()}
    packed = io.BytesIO()  # written to a file directly, torch would hide the reason if the disk is full
    torch.save(content, packed)
    with atomic(path) as part:
        part.write_bytes(packed.getbuffer())


def load_checkpoint(path: Path, run: TrainingRun) -> None:
    """Continue ``run`` from its checkpoint. Raises UserError if that is missing, damaged or from another run."""
    content = _read(path, run.device)
    there, here = json.loads(content["options"]), json.loads(_dump_options(run))
    if [list(part) for part in there] != [list(part) for part in here]:
        raise UserError(f"The checkpoint {path} was made by another version of SlicReg; {RESTART}.")
    if content.get("scans", run.scans) != run.scans:
        raise UserError(f"The checkpoint {path} was made with other scans; {RESTART}.")
    if there != here or content.get("start", "") != run.start:
        raise UserError(
            f"The checkpoint {path} was made with other options; resume with the options of the first run (and --from)."
        )
    run.load_state_dict(content)


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path} to resume from; start without --resume.")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        json.loads(content["options"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"The checkpoint {path} is damaged; {RESTART}.") from error
    return content


def _dump_options(run: TrainingRun) -> str:
    return json.dumps([asdict(run.net.options), asdict(run.options)])
