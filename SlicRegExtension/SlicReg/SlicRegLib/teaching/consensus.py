"""The consensus of a cohort's labels: each scan that has an organ votes for it, in the space of the template.

Nothing here shapes the registration: the fields were found without labels. Threshold and smoothing of the votes are
those with which the consensus of the others, carried to each scan, agrees best with its own labels.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cohort.label_files import find_labels_among, list_label_files
from ..cohort.label_names import LabelName
from ..errors import UserError
from ..geometry.grid import Grid
from ..geometry.label_maps import Box
from ..images.files import make_folder, remove_partial_files
from ..progress import Progress
from ..registration.consensus import Consensus
from ..registration.organs import PERCENTILES, Organ, describe_few_raters
from ..stages import CONSENSUS
from ..workers import run_each
from .agreement import SMOOTHING_MM, THRESHOLDS, Count, compare_scan, save_counts, smooth
from .contours import find_wrong_contours
from .correction import Rater, learn_corrections
from .study import Study
from .votes import LabelledScan, Vote, carry_votes, join_boxes, read_votes

MARGIN = 4
"""Voxels around an organ's votes in which the filter is applied."""


@dataclass(frozen=True, eq=False)
class CountedLabels:
    """The consensus, and what the user should know of its labels, in sentences."""

    consensus: Consensus
    notes: list[str]


def make_consensus(
    study: Study,
    labels: Path,
    names: Mapping[int, LabelName],
    grid: Grid,
    progress: Progress,
    jobs: int = 1,
    single_rater: bool = False,
    scans: Mapping[str, Path] | None = None,
) -> CountedLabels:
    """The consensus on ``grid``, in the template's space, of the labels in a folder that belong to scans of the study.

    labels: folder of label maps with the names of the scans; any of them may have any organs. jobs: processes. The
    votes are kept in the folder "votes" of the study until `remove_votes`, so that an interrupted run goes on.
    single_rater: whether organs that one scan has are kept. scans: the files of the scans by name, where their labels
    are also to teach borders. Raises UserError where no scan has labels.
    """
    files, folder = list_label_files(labels), _votes(study)
    cases = [LabelledScan(name, path) for name in study.scans if (path := find_labels_among(files, name))]
    share = 0.5 if scans else 1.0  # of the work that counting is
    counted: Progress = lambda stage, done, message: progress(stage, share * done, message)  # noqa: E731
    if not cases:
        raise UserError(f"No file in {labels} has the name of a scan of the cohort; labels are matched by name.")
    make_folder(folder)
    remove_partial_files(folder)
    _run(partial(carry_votes, study, grid, folder), cases, folder, jobs, _report(counted, 0.0, len(cases)))
    votes = {case.name: _forget_masks(read_votes(folder, case.name)) for case in cases}
    if not any(vote.box for each in votes.values() for vote in each.values()):
        raise UserError(f"The labels in {labels} hold nothing but background; check that they are label maps.")

    def name(value: int) -> str:
        return names[value].name if value in names else f"Label {value}"

    notes = _leave_out_wrong(votes, name)
    organs = _choose_organs(votes, name, notes, labels, single_rater)
    counts = _count(votes, organs, folder, grid)
    if not counts:
        raise UserError(f"The labels in {labels} lie outside the template; check that they are those of the scans.")
    together = folder / "together"  # no name that a scan's votes may have
    save_counts(together, counts)
    cases = [LabelledScan(case.name, case.path, frozenset(votes[case.name]) & counts.keys()) for case in cases]
    compare = partial(compare_scan, study, grid, folder, together)
    dice = _run(compare, cases, folder, jobs, _report(counted, 0.5, len(cases)))
    scores = {value: _average([each[value] for each in dice if value in each]) for value in counts}
    counted(CONSENSUS, 1.0, f"{len(counts)} organs")
    smoothing = int(np.mean([score.max(1) for score in scores.values()], axis=0).argmax())
    made = []
    for value, count in counts.items():
        best = int(scores[value][smoothing].argmax())
        shares = smooth(count.votes / count.raters, grid, SMOOTHING_MM[smoothing])
        volumes = [each[value].volume_ml for each in votes.values() if value in each and each[value].complete]
        i, j, k = count.box
        made.append(
            Organ(
                value=value,
                name=name(value),
                shares=np.round(255 * shares).astype(np.uint8),
                first=(i.start, j.start, k.start),
                threshold=THRESHOLDS[best],
                raters=count.raters,
                agreement=float(scores[value][smoothing, best]),
                volumes_ml=tuple(np.percentile(volumes, PERCENTILES).tolist()) if volumes else (),
                colour=names[value].colour if value in names else None,
            )
        )
    consensus = Consensus(grid, tuple(made))
    if scans:
        raters = [Rater(case.name, scans[case.name], case.organs) for case in cases if case.name in scans]
        consensus, more = learn_corrections(
            study,
            consensus,
            raters,
            folder,
            jobs,
            lambda stage, done, message: progress(stage, share + (1 - share) * done, message),
        )
        notes += more
    return CountedLabels(consensus, [*notes, *describe_few_raters(made)])


def remove_votes(study: Study) -> None:
    """Once the consensus is written."""
    shutil.rmtree(_votes(study), ignore_errors=True)


def _votes(study: Study) -> Path:
    return study.folder / "votes"


def _report(progress: Progress, begin: float, number: int) -> Callable[[int, str], None]:
    """Of one half of the work, when so many scans are done, the last with this name."""
    return lambda done, name: progress(CONSENSUS, begin + 0.5 * done / number, name)


def _run(
    function: Callable[[LabelledScan], Any],
    cases: Sequence[LabelledScan],
    folder: Path,
    jobs: int,
    report: Callable[[int, str], None],
) -> list[Any]:
    """What the function returns for each case, in their order. Raises UserError if it fails for one."""
    results = {}
    for done in run_each(function, cases, jobs, after_death=lambda: remove_partial_files(folder)):
        if done.problem:
            named = str(done.item.path) in done.problem
            raise UserError(done.problem if named else f"{done.item.path}: {done.problem}")
        results[done.item.name] = done.result
        report(len(results), done.item.name)
    return [results[case.name] for case in cases]


def _forget_masks(votes: dict[int, Vote]) -> dict[int, Vote]:
    """Those of all scans would take much memory; they are read again when they are counted."""
    return {
        value: Vote(vote.volume_ml, vote.complete, vote.box, np.zeros(0, np.uint8)) for value, vote in votes.items()
    }


def _leave_out_wrong(votes: dict[str, dict[int, Vote]], name: Callable[[int], str]) -> list[str]:
    """Take out what cannot be the organ by its volume; returns a sentence for each."""
    notes = []
    for value in sorted({value for each in votes.values() for value in each}):
        volumes = {
            scan: each[value].volume_ml for scan, each in votes.items() if value in each and each[value].complete
        }
        wrong = find_wrong_contours(volumes)
        others = [volume for scan, volume in volumes.items() if scan not in wrong]
        for scan in wrong:
            del votes[scan][value]
            notes.append(
                f"{scan}: {name(value)} has {_format_ml(volumes[scan])} ml, but {_format_ml(min(others))} to "
                f"{_format_ml(max(others))} ml in the other scans; this contour is not counted."
            )
    return notes


def _format_ml(volume: float) -> str:
    """1358.9 -> "1359", 12.084 -> "12.1"."""
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.3g}"


def _choose_organs(
    votes: dict[str, dict[int, Vote]], name: Callable[[int], str], notes: list[str], labels: Path, single_rater: bool
) -> list[int]:
    """Those of the consensus. What is left out is added to the notes. Raises UserError where nothing is left."""
    raters = dict.fromkeys(sorted({value for each in votes.values() for value in each}), 0)
    for each in votes.values():
        for value in each:
            raters[value] += 1
    alone = [] if single_rater else [value for value, number in raters.items() if number == 1]
    if len(alone) == len(raters):
        raise UserError(
            f"Each organ in {labels} is drawn in one scan only, so that there is nothing to agree on; give labels of "
            "more scans, or keep these patients' contours with --single-rater."
        )
    if alone:
        notes.append(
            f"Left out, since one scan only has them: {', '.join(map(name, alone))}; the model would hold this "
            "patient's contours, which --single-rater allows."
        )
    return [value for value in raters if value not in alone]


def _count(votes: dict[str, dict[int, Vote]], organs: Sequence[int], folder: Path, grid: Grid) -> dict[int, Count]:
    """The votes for each of the organs; none for those that lie outside the grid."""
    counts = {}
    for value in organs:
        boxes = {scan: box for scan, each in votes.items() if value in each and (box := each[value].box)}
        if boxes:
            box = _widen(join_boxes(boxes), grid)
            raters = sum(value in each for each in votes.values())
            counts[value] = Count(np.zeros([side.stop - side.start for side in box], np.uint16), box, raters)
    for scan, each in votes.items():
        read = read_votes(folder, scan)
        for value in each.keys() & counts.keys():
            if inside := read[value].box:
                place = (
                    slice(a.start - b.start, a.stop - b.start) for a, b in zip(inside, counts[value].box, strict=True)
                )
                counts[value].votes[tuple(place)] += read[value].mask
    return counts


def _average(dice: Sequence[np.ndarray]) -> np.ndarray:
    """Of the raters; where there is nobody to compare with, half of the votes are best."""
    if not dice:
        return np.tile(np.isclose(THRESHOLDS, 0.5).astype(float), (len(SMOOTHING_MM), 1))
    return np.mean(dice, axis=0)


def _widen(box: Box, grid: Grid) -> Box:
    i, j, k = (
        slice(max(0, part.start - MARGIN), min(n, part.stop + MARGIN)) for part, n in zip(box, grid.shape, strict=True)
    )
    return i, j, k
