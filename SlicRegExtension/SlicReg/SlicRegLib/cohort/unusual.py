"""Which scans of a cohort are copies, and which are unlike the others.

Copies have the same voxels at the same place as an earlier scan or the template. Unusual is, among the readable scans
that are no copies:

- a short field of view: it shows less than half (`SHORT`) of the length of the body that the template shows, along S;
- with at least 5 scans (`FEW`), a scan unlike the others: a property has a robust z score |x - median| / (1.4826 MAD)
  above 3.5 (`Z_LIMIT`). The properties are the logarithms of the voxel edges along R, A and S, the body's length along
  S, its volume and its mean HU. The denominator is at least 0.2 (for logarithms), a twentieth of the median (length), a
  tenth of the median (volume) and 15 HU (`FLOORS`), so that even in a uniform cohort a voxel edge must differ by a
  factor of 2, a length by 18 %, a volume by 35 % and a mean by 53 HU. The volume of a body of unusual length is not
  reported;
- with at least 5 scans, another orientation of the array than most scans have. This is harmless.

Unusual scans are used all the same: a person decides.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from .facts import Cohort, ScanFacts
from .orientation import order_by_axis

FEW = 5
Z_LIMIT = 3.5
SHORT = 0.5
FLOORS = {"spacing": 0.2, "length": 0.05, "volume": 0.1, "hu": 15.0}
HARMLESS = "This is harmless: every orientation is read correctly."


def find_unusual(cohort: Cohort) -> Cohort:
    """The cohort with ``same_as`` and ``unusual`` of each scan filled in."""
    first = {cohort.template.fingerprint: cohort.template.name}
    scans = []
    for scan in cohort.scans:
        if not scan.problem:
            scan = replace(scan, same_as=first.get(scan.fingerprint, ""))
            first.setdefault(scan.fingerprint, scan.name)
        scans.append(scan)
    compared = [scan for scan in scans if not scan.problem and not scan.same_as]
    sentences = {scan.name: _compare_with_template(scan, cohort.template) for scan in compared}
    if len(compared) >= FEW:
        short = [bool(sentences[scan.name]) for scan in compared]
        for scan, more in zip(compared, _compare_with_each_other(compared, short), strict=True):
            sentences[scan.name] += more
    return Cohort(cohort.template, [replace(scan, unusual=sentences.get(scan.name, [])) for scan in scans])


def is_harmless(sentences: list[str]) -> bool:
    """Whether nobody needs to look at the scan."""
    return all(HARMLESS in text for text in sentences)


def _compare_with_template(scan: ScanFacts, template: ScanFacts) -> list[str]:
    length, full = scan.body_extent_mm[2], template.body_extent_mm[2]
    if length >= SHORT * full:
        return []
    return [f"Short field of view: {length:.0f} mm of the body; the template shows {full:.0f} mm."]


def _compare_with_each_other(scans: list[ScanFacts], short: list[bool]) -> list[list[str]]:
    """Sentences about each scan. short: whether its field of view is short, so that its length has been reported."""
    edges = np.array([order_by_axis(scan.orientation, scan.spacing_mm) for scan in scans])
    lengths = np.array([scan.body_extent_mm[2] for scan in scans])
    volumes = np.array([scan.body_ml / 1000 for scan in scans])
    means = np.array([scan.mean_hu for scan in scans])
    common = Counter(scan.orientation for scan in scans).most_common(1)[0][0]
    far_edges = np.stack([_is_far(np.log(edge), FLOORS["spacing"]) for edge in edges.T], 1)
    far_lengths = _is_far(lengths, FLOORS["length"] * float(np.median(lengths)))
    far_volumes = _is_far(volumes, FLOORS["volume"] * float(np.median(volumes)))
    far_means = _is_far(means, FLOORS["hu"])
    sentences = []
    for i, scan in enumerate(scans):
        texts = [
            f"Voxels of {edges[i, axis]:.3g} mm along {'RAS'[axis]}; the median is {np.median(edges[:, axis]):.3g} mm."
            for axis in range(3)
            if far_edges[i, axis]
        ]
        if far_lengths[i] and not short[i]:
            texts.append(f"The body is {lengths[i]:.0f} mm long; the median is {np.median(lengths):.0f} mm.")
        if far_volumes[i] and not (short[i] or far_lengths[i]):
            texts.append(f"The body has {volumes[i]:.3g} litres; the median is {np.median(volumes):.3g} litres.")
        if far_means[i]:
            texts.append(f"The body has a mean of {means[i]:.0f} HU; the median is {np.median(means):.0f} HU.")
        if scan.orientation != common:
            texts.append(f"Stored as {scan.orientation}, most scans as {common}. {HARMLESS}")
        sentences.append(texts)
    return sentences


def _is_far(values: np.ndarray, floor: float) -> np.ndarray:
    """Which values have a robust z score above the limit. floor: the least spread that is assumed."""
    distance = np.abs(values - np.median(values))
    return distance > Z_LIMIT * max(1.4826 * float(np.median(distance)), floor)
