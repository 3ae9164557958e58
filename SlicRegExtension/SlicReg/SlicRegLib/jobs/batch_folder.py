"""The output folder of a batch: one process at a time works in it."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from ..images.files import make_folder, remove_partial_files
from .lock import OWNER, claim_folder, find_owner, make_conflict


def open_batch_folder(folder: Path) -> None:
    """Make the folder, and remove what a batch that was killed was writing. Raises UserError where another process
    works in it."""
    make_folder(folder)
    owner = find_owner(folder)
    if owner and (owner.pid, owner.host) != (os.getpid(), platform.node()):
        raise make_conflict(folder, owner, "batch")
    remove_partial_files(folder)


@contextlib.contextmanager
def hold_batch_folder(folder: Path) -> Iterator[None]:
    """No other batch works in the folder during the block. Raises UserError where one does."""
    with claim_folder(folder, "batch"):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / OWNER).unlink()
