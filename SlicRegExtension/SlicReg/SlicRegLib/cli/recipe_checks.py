"""What can be known of a teacher before the hours of a recipe."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..images.files import stem
from ..images.volumes import load_scan
from ..teaching.cluster import check_scheduler
from ..teaching.create import check_warped, make_teacher
from ..teaching.deeds import DeedsTeacher
from ..teaching.options import PrepareRequest
from ..teaching.warped_supervoxels import open_warped_supervoxels
from .abdomen import Abdomen


def check_teaching(request: PrepareRequest, data: Abdomen) -> None:
    """Raise UserError for options that contradict each other, and for a teacher that is not there or lacks files."""
    check_warped(request)
    if request.scheduler:
        check_scheduler(request.scheduler)
    if request.supervoxels:
        warped = open_warped_supervoxels(Path(request.supervoxels), data.template, data.training)
        warped.template(load_scan(data.template))
        return
    teacher = make_teacher(request, data.template)
    if isinstance(teacher, DeedsTeacher) and (missing := teacher.find_missing([stem(scan) for scan in data.training])):
        raise UserError(
            f"{request.deeds_dir} lacks {len(missing)} files ({', '.join(missing)}); add them, or the programs to make "
            "them."
        )
