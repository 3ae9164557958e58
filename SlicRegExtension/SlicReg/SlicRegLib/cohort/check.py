"""Checks whether a cohort is fit for a training, and keeps the findings in a folder.

cohort.json          `ScanFacts` of the template and of each scan, with a summary for people
cohort_unusual.png   thumbnails of the unusual scans and of the copies; absent if there are none
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..images.dicom_series import is_same_scan
from ..images.files import make_folder, stem, write_json
from ..images.json_reading import read_json
from ..images.volumes import Volume
from ..progress import Progress, silent
from ..stages import CHECK
from ..workers import run_each
from .facts import Cohort, ScanFacts, measure_scan
from .listing import list_cohort
from .summary import summarise
from .thumbnails import draw_thumbnails
from .unusual import find_unusual, is_harmless

COHORT_VERSION = 1
REPORT, PICTURE = "cohort.json", "cohort_unusual.png"


def check_cohort(
    template: Path,
    images: Path,
    jobs: int = 1,
    progress: Progress = silent,
    scan: Volume | None = None,
    series: str = "",
) -> Cohort:
    """Read and compare the template and every scan of ``images`` (see `list_cohort`) except the template itself.

    jobs: processes that share the scans. scan: the content of ``template`` if it is known already. series: as in
    `list_cohort`. Raises UserError if the template cannot be used or there is no other scan.
    """
    paths = [path for path in list_cohort(images, series) if not is_same_scan(path, template)]
    if not paths:
        raise UserError(f"{images} contains no scan besides the template; add the cohort's scans.")
    fixed = measure_scan(template, scan)
    if fixed.problem:
        raise UserError(f"The template cannot be used: {fixed.problem}")
    found = {}
    progress(CHECK, 0.0, f"0 of {len(paths)}")
    for path, measured, problem in run_each(_measure_on_one_thread, paths, jobs):
        facts = measured or ScanFacts(stem(path), str(path.absolute()), problem=f"{path}: {problem}")
        found[facts.name] = facts
        progress(CHECK, len(found) / len(paths), f"{len(found)} of {len(paths)}: {facts.name}")
    return find_unusual(Cohort(fixed, [found[stem(path)] for path in paths]))


def _measure_on_one_thread(path: Path) -> ScanFacts:
    """`measure_scan` on one thread, since other processes use the other cores; the caller's number is restored."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure_scan(path)
    finally:
        torch.set_num_threads(threads)


def save_cohort(folder: Path, cohort: Cohort) -> None:
    """Write `cohort.json` and thumbnails of unusual scans and copies, in place of those of an earlier check."""
    folder = Path(folder)
    make_folder(folder)
    write_json(folder / REPORT, {"version": COHORT_VERSION, "summary": summarise(cohort), **asdict(cohort)})
    findings = [(scan, [f"Copy of {scan.same_as}."] if scan.same_as else scan.unusual) for scan in cohort.scans]
    shown = sorted(((scan, texts) for scan, texts in findings if texts), key=lambda entry: is_harmless(entry[1]))
    (folder / PICTURE).unlink(missing_ok=True)
    if shown:
        draw_thumbnails(folder / PICTURE, cohort.template, shown)


def load_cohort(folder: Path) -> Cohort:
    """Read what `save_cohort` wrote. Raises UserError if it is missing, damaged or from another version."""
    path = Path(folder) / REPORT
    if not path.is_file():
        raise UserError(f"{path} does not exist; check the scans first with `slicreg check`.")
    try:
        content = read_json(path)
        if content["version"] != COHORT_VERSION:
            raise UserError(f"{path} was written by another version of SlicReg; delete it and check the scans again.")
        return Cohort(_read_facts(content["template"]), [_read_facts(scan) for scan in content["scans"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged; delete it and check the scans again.") from error


def _read_facts(content: dict[str, Any]) -> ScanFacts:
    tuples = {key: tuple(content[key]) for key in ("shape", "spacing_mm", "extent_mm", "body_extent_mm")}
    return ScanFacts(**{**content, **tuples})
