"""Whether a folder of scans is fit for a training: what each scan is, which are copies, which are unlike the others.

    cohort.json          what was found, with the summary for people
    cohort_unusual.png   thumbnails of the unusual scans and of the copies; absent if there are none

What counts as unusual, among the scans that can be read and are no copies:

- Short field of view: the body is seen along S over less than half (`SHORT`) of what the template shows of it.
- Unlike the others, where there are at least 5 (`FEW`): the robust z score |x - median| / (1.4826 MAD) is above 3.5
  (`Z_LIMIT`). The properties are the logarithm of the voxel edge along R, A and S, the body's extent along S, its volume and
  its mean HU. The denominator is never below 0.2 (of the logarithm), a twentieth of the median, a tenth of the median and
  15 HU (`FLOORS`), so that even among equals an edge must differ by a factor of 2, a length by 18 %, a volume by 35 %, a mean
  by 53 HU. A body that is shorter or longer has another volume too, which is not said again.
- Stored in another orientation than most (with at least 5 scans): harmless, and said for completeness.

An unusual scan is still used: a person decides.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import torch

from ..errors import UserError
from ..images.files import atomic, stem
from ..images.volumes import Volume
from ..progress import Progress, silent
from .facts import HARMLESS, ScanFacts, is_harmless, measure_scan
from .listing import list_cohort
from .thumbnails import draw_thumbnails

COHORT_VERSION = 1
REPORT, PICTURE = "cohort.json", "cohort_unusual.png"
FEW = 5  # with fewer scans nothing is unlike the others
Z_LIMIT = 3.5
SHORT = 0.5
FLOORS = {"spacing": 0.2, "extent": 0.05, "volume": 0.1, "hu": 15.0}  # logarithm, of the median, of the median, HU


@dataclass(frozen=True)
class Cohort:
    """The template and the scans of a training, sorted as they were listed."""

    template: ScanFacts
    scans: list[ScanFacts]

    @property
    def usable(self) -> list[str]:
        """Names of the scans without a problem that are no copy of an earlier one or of the template."""
        return [scan.name for scan in self.scans if not scan.problem and not scan.same_as]


def check_cohort(
    template: Path, images: Path, jobs: int = 1, progress: Progress = silent, scan: Volume | None = None
) -> Cohort:
    """Read the template and every scan of ``images`` (see `list_cohort`) and say what is wrong with them.

    The template itself is left out of the cohort. ``jobs`` processes share the scans. scan: the content of ``template``
    where it is known. Raises UserError if the template cannot be used and if there is no other scan.
    """
    paths = [path for path in list_cohort(images) if path.resolve() != Path(template).resolve()]
    if not paths:
        raise UserError(f"{images} holds no scan besides the template; add the cohort's scans.")
    fixed = measure_scan(template, scan)
    if fixed.problem:
        raise UserError(f"The template cannot be used: {fixed.problem}")
    found = {}
    progress("check", 0.0, f"0 of {len(paths)}")
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    for facts in parallel(joblib.delayed(_measure_on_one_thread)(path) for path in paths):
        found[facts.name] = facts
        progress("check", len(found) / len(paths), f"{len(found)} of {len(paths)}: {facts.name}")
    return _find_unusual(Cohort(fixed, [found[stem(path)] for path in paths]))


def _measure_on_one_thread(path: Path) -> ScanFacts:
    """`measure_scan` on one thread, since other processes use the other cores; the caller's own number of threads is kept."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure_scan(path)
    finally:
        torch.set_num_threads(threads)


def _find_unusual(cohort: Cohort) -> Cohort:
    """The cohort with `same_as` and `unusual` filled in."""
    first = {cohort.template.fingerprint: cohort.template.name}
    scans = []
    for scan in cohort.scans:
        if not scan.problem:
            scan = replace(scan, same_as=first.get(scan.fingerprint, ""))
            first.setdefault(scan.fingerprint, scan.name)
        scans.append(scan)
    sound = [scan for scan in scans if not scan.problem and not scan.same_as]
    sentences = {scan.name: _compared_with_template(scan, cohort.template) for scan in sound}
    if len(sound) >= FEW:
        for scan, more in zip(sound, _compared_with_each_other(sound, sentences)):
            sentences[scan.name] += more
    return Cohort(cohort.template, [replace(scan, unusual=sentences.get(scan.name, [])) for scan in scans])


def _compared_with_template(scan: ScanFacts, template: ScanFacts) -> list[str]:
    seen, wanted = scan.body_extent_mm[2], template.body_extent_mm[2]
    if seen >= SHORT * wanted:
        return []
    return [f"Short field of view: {seen:.0f} mm of the body, the template shows {wanted:.0f} mm."]


def _compared_with_each_other(scans: list[ScanFacts], known: dict[str, list[str]]) -> list[list[str]]:
    """What is unlike the others in each scan; ``known``: what was said of it already, by name."""
    edges = np.array([scan.along(scan.spacing_mm) for scan in scans])
    extents, volumes, means = (
        np.array(v) for v in zip(*((s.body_extent_mm[2], s.body_ml / 1000, s.mean_hu) for s in scans))
    )
    usual = Counter(scan.orientation for scan in scans).most_common(1)[0][0]
    far_edges = np.stack([_far(np.log(edge), FLOORS["spacing"]) for edge in edges.T], 1)
    far_extents = _far(extents, FLOORS["extent"] * np.median(extents))
    far_volumes = _far(volumes, FLOORS["volume"] * np.median(volumes))
    far_means = _far(means, FLOORS["hu"])
    sentences = []
    for i, scan in enumerate(scans):
        said = [
            f"Voxels of {edges[i, axis]:.3g} mm along {'RAS'[axis]}, usual are {np.median(edges[:, axis]):.3g} mm."
            for axis in range(3)
            if far_edges[i, axis]
        ]
        other_part = bool(known[scan.name] or far_extents[i])
        if far_extents[i] and not known[scan.name]:
            said.append(f"The body is {extents[i]:.0f} mm long, usual are {np.median(extents):.0f} mm.")
        if far_volumes[i] and not other_part:
            said.append(f"The body has {volumes[i]:.3g} litres, usual are {np.median(volumes):.3g} litres.")
        if far_means[i]:
            said.append(f"The body's mean is {means[i]:.0f} HU, usual are {np.median(means):.0f} HU.")
        if scan.orientation != usual:
            said.append(f"Stored as {scan.orientation}, most as {usual}, {HARMLESS}.")
        sentences.append(said)
    return sentences


def _far(values: np.ndarray, floor: float) -> np.ndarray:
    """Which values have a robust z score above the limit; ``floor``: the least spread that counts."""
    distance = np.abs(values - np.median(values))
    return distance > Z_LIMIT * max(1.4826 * np.median(distance), floor)


def summary(cohort: Cohort) -> str:
    """A few lines for people: counts, ranges, and one line for each scan that a person should look at."""
    read = [scan for scan in cohort.scans if not scan.problem]
    usable, template = set(cohort.usable), cohort.template
    lines = [
        f"{len(cohort.scans)} scans, {len(usable)} usable; template {template.name}, "
        f"{' x '.join(map(str, template.shape))} voxels, {template.orientation}"
    ]
    if read:
        edges = np.array([scan.along(scan.spacing_mm) for scan in read])
        ranges = ", ".join(f"{axis} {_range(edge, '.3g')}" for axis, edge in zip("RAS", edges.T))
        orientations = Counter(scan.orientation for scan in read).most_common()
        views = [_range([scan.extent_mm[axis] for scan in read], ".0f") for axis in range(3)]
        lines += [
            f"Voxels in mm: {ranges}",
            f"Orientations: {', '.join(f'{name} ({count})' for name, count in orientations)}",
            f"Fields of view in mm: R {views[0]}, A {views[1]}, S {views[2]}",
            f"Length of the body in mm: {_range([scan.body_extent_mm[2] for scan in read], '.0f')}, "
            f"of the template {template.body_extent_mm[2]:.0f}",
        ]
    for title, texts in (
        ("Cannot be used", [(scan, scan.problem) for scan in cohort.scans if scan.problem]),
        ("Copies, left out", [(scan, f"the same voxels as {scan.same_as}") for scan in read if scan.same_as]),
        ("Unusual, used all the same", [(scan, " ".join(scan.unusual)) for scan in read if scan.unusual]),
    ):
        if texts:
            lines += [f"{title}: {len(texts)}", *(f"  {scan.name}: {text}" for scan, text in texts)]
    return "\n".join(lines)


def _range(values, style: str) -> str:
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"


def save_cohort(folder: Path, cohort: Cohort) -> None:
    """Write `cohort.json` and, if scans are unusual or copies, their thumbnails; those of an earlier check are removed."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": COHORT_VERSION, "summary": summary(cohort), **asdict(cohort)}
    with atomic(folder / REPORT) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    reasons = [(scan, [f"Copy of {scan.same_as}."] if scan.same_as else scan.unusual) for scan in cohort.scans]
    shown = sorted(((scan, texts) for scan, texts in reasons if texts), key=lambda entry: is_harmless(entry[1]))
    (folder / PICTURE).unlink(missing_ok=True)
    if shown:
        draw_thumbnails(folder / PICTURE, cohort.template, shown)


def load_cohort(folder: Path) -> Cohort:
    """Read back what `save_cohort` wrote. Raises UserError where it is missing, damaged or of another version."""
    path = Path(folder) / REPORT
    if not path.is_file():
        raise UserError(f"{path} does not exist; check the scans first with `slicreg check`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != COHORT_VERSION:
            raise UserError(f"{path} was written by another version of SlicReg; delete it and check the scans again.")
        return Cohort(_facts(content["template"]), [_facts(scan) for scan in content["scans"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged; delete it and check the scans again.") from error


def _facts(content: dict) -> ScanFacts:
    tuples = {key: tuple(content[key]) for key in ("shape", "spacing_mm", "extent_mm", "body_extent_mm")}
    return ScanFacts(**{**content, **tuples})
