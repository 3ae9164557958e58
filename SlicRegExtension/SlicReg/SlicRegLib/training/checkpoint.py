"""The checkpoint of a training run: written completely or not at all, and refused by any other run.

A zip of  state.json           what identifies the run, its progress, SHA-256 of the tensors; no pickle
          tensors.safetensors  weights, moments of Adam, states of the random generators, the learning curve
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..errors import UserError, explain_os_error, is_out_of_memory
from ..images.archive import is_read_failure, open_archive
from ..images.files import atomic
from ..images.json_reading import parse_json
from .run import TrainingRun

CHECKPOINT_VERSION = 2
STATE, TENSORS = "state.json", "tensors.safetensors"
LIMITS = {STATE: 1 << 24, TENSORS: 1 << 31}
"""Parts and the most bytes that each may have."""
RESTART = "delete it and start again (train: without --resume)"


def save_checkpoint(path: Path, run: TrainingRun) -> None:
    """Write the state of ``run`` and what identifies it: its options, its scans, and the weights it started from."""
    facts, tensors = run.state_dict()
    packed = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    state = {"version": CHECKPOINT_VERSION, "options": _dump_options(run), "start": run.start, "scans": run.scans}
    state |= {**facts, "sha256": hashlib.sha256(packed).hexdigest()}
    with atomic(path) as part, zipfile.ZipFile(part, "w") as archive:
        archive.writestr(STATE, json.dumps(state, allow_nan=False))
        archive.writestr(TENSORS, packed)


def load_checkpoint(path: Path, run: TrainingRun) -> None:
    """Continue ``run`` from its checkpoint, which may be that of a shorter run with otherwise the same options.

    Raises UserError if it is missing, damaged or from another run.
    """
    state, tensors = _read(path)
    there, here = state["options"], _dump_options(run)
    if state["version"] != CHECKPOINT_VERSION or [list(part) for part in there] != [list(part) for part in here]:
        raise _other_version(path)
    if state["scans"] != run.scans:
        raise UserError(f"The checkpoint {path} was made with other scans; {RESTART}.")
    before, now = there[1]["iterations"], here[1]["iterations"]
    if there != [here[0], here[1] | {"iterations": before}] or state["start"] != run.start:
        raise UserError(
            f"The checkpoint {path} was made with other options; resume with the options of the first run (and --from)."
        )
    if not isinstance(before, int) or before > now:
        raise UserError(f"The checkpoint {path} is that of {before} iterations; resume with as many or more.")
    try:
        run.load_state_dict(state, tensors)
    except Exception as error:  # of many kinds, from torch
        if is_out_of_memory(error):
            raise
        raise _damaged(path) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path} to resume from; start without --resume.")
    with open(path, "rb") as file:
        try:
            if b"/data.pkl" in file.read(256):  # written by torch.save, as once
                raise _other_version(path)
            with open_archive(file, lambda name: name in LIMITS) as archive:
                content = {name: archive.read(name, limit) for name, limit in LIMITS.items()}
            state = parse_json(content[STATE])
            if state["sha256"] != hashlib.sha256(content[TENSORS]).hexdigest():
                raise _damaged(path)
            _ = [list(part) for part in state["options"]], state["version"], state["scans"], state["start"]
            return state, load_tensors(content[TENSORS])
        except UserError:
            raise
        except Exception as error:  # zip, JSON and tensors each raise errors of their own
            if is_out_of_memory(error):
                raise
            if is_read_failure(error):
                raise UserError(f"The checkpoint {path} cannot be read: {explain_os_error(error)}.") from error
            raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"The checkpoint {path} is damaged; {RESTART}.")


def _other_version(path: Path) -> UserError:
    return UserError(f"The checkpoint {path} was made by another version of SlicReg; {RESTART}.")


def _dump_options(run: TrainingRun) -> list[dict[str, Any]]:
    """As they come back from JSON."""
    return json.loads(json.dumps([asdict(run.net.options), asdict(run.options)]))
