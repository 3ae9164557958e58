"""The teacher on one scan, or on all scans of a cohort in processes of this computer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from ..errors import UserError, is_out_of_memory, one_sentence
from ..images.files import check_path, remove_partial_files, stem
from ..images.preparation import PreparedScan, prepare_scan
from ..images.volumes import load_scan
from ..workers import run_each
from .packing import (
    load_arrays,
    load_quality,
    pack_field,
    pack_measurements,
    pack_scan,
    pack_supervoxels,
    save_arrays,
    unpack_field,
    unpack_scan,
)
from .quality import measure_field
from .study import Study
from .teachers import Teacher
from .warped_supervoxels import WarpedSupervoxels

Outcome = tuple[str, str]
"""Name of a scan, and why it could not be registered; "" if it was."""


def teach_scan(study: Study, path: Path, template: PreparedScan, teacher: Teacher, threads: int) -> Outcome:
    """Prepare one scan, run the teacher, measure its field and write the scan's file.

    Does nothing if the file is complete, so that a cluster may start a task twice. threads: for torch. Raises
    WriteError if the scan's file cannot be written; whatever else goes wrong is the outcome.
    """
    name = stem(path)
    try:
        check_path(path)
    except UserError as error:
        return name, str(error)
    file = study.scan_path(name)
    if load_quality(file):
        return name, ""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        content = load_arrays(file)  # not empty if an earlier version wrote the file: it measured nothing
        if not content:
            original = prepare_scan(load_scan(path), study.preparation, path=path)
            result = teacher.register(original, template)
            if not torch.isfinite(result.vectors).all():
                return name, f"{path}: the teacher's field is not finite."
            content = pack_scan(original) | pack_field(result)
            if isinstance(teacher, WarpedSupervoxels):
                content |= pack_supervoxels(*teacher.attach(original))
        scan, field = unpack_scan(name, content), unpack_field(content)  # rounded, as the training will read them
        quality = measure_field(scan, template, field)
    except UserError as error:
        return name, str(error)
    except Exception as error:  # the teacher failed on one scan: the others must not suffer
        if isinstance(error, OSError) or is_out_of_memory(error):
            return name, f"{path}: {one_sentence(error)}"
        reason = " ".join(str(error).split()) or "no message"
        return name, f"{path}: the teacher failed ({type(error).__name__}: {reason})."
    finally:
        torch.set_num_threads(before)
    save_arrays(file, content | pack_measurements(scan, quality))
    return name, ""


def teach_locally(
    jobs: int, study: Study, paths: list[Path], template: PreparedScan, teacher: Teacher
) -> Iterator[Outcome]:
    """The outcome of `teach_scan` for each scan, as ``jobs`` processes finish; also of one that ends its process."""
    threads = max(1, torch.get_num_threads() // jobs)
    teach = partial(teach_scan, study, template=template, teacher=teacher, threads=threads)

    def remove_unfinished() -> None:
        remove_partial_files(study.folder / "scans")

    for done in run_each(teach, paths, jobs, after_death=remove_unfinished):
        yield done.result or (stem(done.item), f"{done.item}: {done.problem}")
