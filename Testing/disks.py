"""A disk that fills up: a real one where the tests run as root, otherwise a limit on the size of files."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PYTHON = "import sys; from SlicRegLib.cli.main import main; sys.exit(main(sys.argv[1:]))"


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of ``size`` bytes mounted at ``folder`` in the block. Raises OSError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not mount or os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        raise OSError("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    try:
        with small_disk(folder, 1 << 20):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """In the block, writing more than ``size`` bytes to a file is an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def broken_files(folder: Path) -> list[str]:
    """Files in ``folder`` that are not whole, and hidden ones that a writer left."""
    import nibabel as nib
    import numpy as np
    import SimpleITK as sitk
    from matplotlib import image

    from SlicRegLib.registration.model import load_model

    def read(path: Path) -> None:
        match path.suffix:
            case ".json":
                json.loads(path.read_text())
            case ".h5":
                sitk.ReadTransform(str(path))
            case ".gz":
                np.asanyarray(nib.load(path).dataobj)
            case ".png":
                image.imread(path)
            case ".npz":
                with np.load(path) as file:
                    [file[name] for name in file.files]
            case ".slicreg":
                load_model(path)

    broken = []
    for path in folder.rglob("*"):
        if path.name.startswith(".") and path.name != ".lock":
            broken.append(str(path))
        elif path.is_file():
            try:
                read(path)
            except Exception as error:
                broken.append(f"{path}: {error!r}"[:300])
    return broken


def run_program(words: list[str], limit: int | None = None, **options) -> subprocess.CompletedProcess[str]:
    """The command line as a program, with a limit on the size of its files."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-c", PYTHON, *words]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", preexec_fn=restrict, check=False, **options
    )
