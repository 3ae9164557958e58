"""The teacher on one scan."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..images.files import stem
from ..images.preparation import PreparedScan, prepare_scan
from ..images.volumes import load_scan
from .quality import measure_field
from .study import Study, load_arrays, load_quality, pack_scan, save_arrays, scan_file, unpack_scan
from .teachers import Teacher


def teach_scan(study: Study, path: Path, template: PreparedScan, teacher: Teacher, threads: int) -> tuple[str, str]:
    """Prepare one scan, run the teacher, measure its field, write the file; returns (name, problem or "").

    Does nothing where the file is there, so that a cluster may start a task twice.
    """
    name = stem(path)
    file = scan_file(study, name)
    if load_quality(file):
        return name, ""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        content = load_arrays(file)  # of a version that measured nothing
        if not content:
            scan = prepare_scan(load_scan(path), study.preparation, path=path)
            field = teacher.register(scan, template)
            if not torch.isfinite(field.vectors).all():
                return name, f"{path}: the teacher's field is not finite."
            content = pack_scan(scan, field)
        scan, field = unpack_scan(name, content)  # as it will be read: rounded
        quality = measure_field(scan, template, field)
    except UserError as error:
        return name, str(error)
    except (RuntimeError, ValueError) as error:  # a teacher's own failure on one scan must not end the cohort's run
        reason = " ".join(str(error).split()) or "no message"
        return name, f"{path}: the teacher failed ({type(error).__name__}: {reason})."
    finally:
        torch.set_num_threads(before)
    save_arrays(file, content | {"region": np.packbits(scan.region.numpy()), "quality": np.array(astuple(quality))})
    return name, ""
