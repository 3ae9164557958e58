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

import csv
import json
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from itertools import permutations
from pathlib import Path

import joblib
import numpy as np
import torch

from .errors import UserError
from .files import atomic, list_images, stem
from .geometry import Grid, bounding_grid
from .preparation import AIR_HU, MAX_HU, body_mask, soft_tissue_centre
from .progress import Progress, silent
from .volumes import Volume, load_scan
from .warping import resample

COHORT_VERSION = 1
REPORT, PICTURE = "cohort.json", "cohort_unusual.png"

BODY_MM = 4.0  # voxel edge of the grid on which the body is found
MAX_EXTENT_MM = 3000.0  # of a scan: longer than any patient, so its spacing is wrong
FEW = 5  # with fewer scans nothing is unlike the others
Z_LIMIT = 3.5
SHORT = 0.5
FLOORS = {"spacing": 0.2, "extent": 0.05, "volume": 0.1, "hu": 15.0}  # logarithm, of the median, of the median, HU
HARMLESS = "which is harmless: every orientation is read right"

# What a training costs, at 1.15 million voxels (128 x 80 x 112 at 4 mm), measured on a server CPU unless said otherwise.
MEASURED_VOXELS = 1.15e6
TEACHER_SECONDS = 16.5  # convexAdam, per scan and process of one core: 80 scans took 11 minutes with 2 processes
# per scan and iteration on two cores: compact 2.9 s for 2 scans, paper 105 s for 4; unet: not measured, estimated from compact
TRAINING_SECONDS = {"compact": 1.45, "unet": 4.0, "paper": 26.0}
CUDA_TRAINING_SECONDS = {"compact": 0.1, "unet": 0.15, "paper": 0.3}  # not measured: assumed
STUDY_MB = 1.0  # per scan in the study: 80 scans take 80 MB
# the process, and each scan of the batch: compact took 1.5 GB with 2, paper 16.3 GB with 4 (its loss is taken at all voxels)
TRAINING_GB, TRAINING_GB_PER_SCAN = 0.6, {"compact": 0.45, "unet": 1.0, "paper": 4.0}
TEACHER_GB = 1.0  # per process

THUMBNAILS = 24  # at most; the template's comes first and is not counted
COLUMNS = 5  # of thumbnails
TILE_INCHES = 3.4  # width of one
PIXEL_MM = 2.0
PICTURE_HU = (-300, 500)  # from black to white
TITLE_LINES = 5  # of a thumbnail, at most
DPI = 100


@dataclass(frozen=True)
class ScanFacts:
    """What one scan is. One that cannot be read has a ``problem`` and no geometry, one without a body the geometry alone."""

    name: str
    path: str  # absolute
    shape: tuple[int, ...] = ()  # voxels along the array's axes
    spacing_mm: tuple[float, ...] = ()  # along the array's axes
    orientation: str = ""  # where the array's axes point to, such as "LPS"
    extent_mm: tuple[float, ...] = ()  # of the scan along the axes nearest to R, A, S
    body_extent_mm: tuple[float, ...] = ()  # of the body along R, A, S
    body_ml: float = 0.0
    mean_hu: float = 0.0  # of the body
    fingerprint: str = ""  # `Volume.fingerprint`
    problem: str = ""  # why the scan cannot be used
    unusual: list[str] = field(default_factory=list)  # sentences
    same_as: str = ""  # the name of an earlier scan, or of the template, with the same voxels in the same place

    def along(self, values: tuple[float, ...]) -> list[float]:
        """Values along the array's axes in the order R, A, S."""
        axes = [next(a for a, pair in enumerate(("RL", "AP", "SI")) if letter in pair) for letter in self.orientation]
        return [values[axes.index(axis)] for axis in range(3)]


@dataclass(frozen=True)
class Cohort:
    """The template and the scans of a training, sorted as they were listed."""

    template: ScanFacts
    scans: list[ScanFacts]

    @property
    def usable(self) -> list[str]:
        """Names of the scans without a problem that are no copy of an earlier one or of the template."""
        return [scan.name for scan in self.scans if not scan.problem and not scan.same_as]


@dataclass(frozen=True)
class Estimate:
    """What a training will take; ``note`` says how far it can be trusted."""

    teacher_hours: float
    training_hours: float
    memory_gb: float
    disk_gb: float
    note: str

    def __str__(self) -> str:
        hours = f"about {_hours(self.teacher_hours)} for the teacher and {_hours(self.training_hours)} for the training"
        return f"{hours}, {self.memory_gb:.1f} GB of memory and {self.disk_gb:.2g} GB of disk ({self.note})"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def list_cohort(images: Path) -> list[Path]:
    """The scans of a folder, sorted by name, or those that a CSV file names, in its order.

    The CSV has one scan per row, in the column headed `path` or `image`, or in the first column where there is no such header;
    paths are relative to the CSV's folder. Raises UserError for a scan that is missing and for two of the same name.
    """
    images = Path(images)
    table = images.is_file() or images.suffix.lower() == ".csv"
    paths = _read_table(images) if table else list_images(images)
    first = {}
    for path in paths:
        name = stem(path)
        if first.setdefault(name, path) is not path:
            raise UserError(f"{images} has two scans of the name {name}, {first[name]} and {path}; rename or remove one.")
    return paths


def _read_table(path: Path) -> list[Path]:
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a folder of scans or a CSV file with one path per row.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without the mark that spreadsheets write first
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; give a folder of scans or a CSV file with one path per row.") from error
    head = text.partition("\n")[0]
    separator = next((s for s in ",;\t" if s in head), ",")
    reader = csv.reader(text.splitlines(), delimiter=separator)
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    titles = [cell.lower() for cell in rows[0][1]] if rows else []
    column = next((titles.index(title) for title in ("path", "image") if title in titles), None)
    rows, column = (rows, 0) if column is None else (rows[1:], column)
    if not rows:
        raise UserError(f"{path} names no scan; write one path per row, below the heading `path`.")
    paths = []
    for number, row in rows:
        name = row[column] if column < len(row) else ""
        if not name:
            raise UserError(f"Row {number} of {path} names no scan; fill it in or delete the row.")
        if not (path.parent / name).is_file():
            raise UserError(f"Row {number} of {path} names {name}, and {path.parent / name} does not exist; correct the path "
                            "(or, where this is a heading, call it `path`).")
        paths.append(path.parent / name)
    return paths


def look_at(path: Path) -> ScanFacts:
    """Read one scan and measure it. A scan that cannot be used has its reason in `problem`: nothing is raised for it."""
    facts = ScanFacts(stem(path), str(Path(path).absolute()))
    try:
        scan = load_scan(path)
        facts = replace(facts, **_geometry(scan.grid), fingerprint=scan.fingerprint())
        if max(facts.extent_mm) > MAX_EXTENT_MM:
            raise UserError(f"The scan is {max(facts.extent_mm) / 1000:.3g} m long; correct its spacing, which must be in mm.")
        soft_tissue_centre(scan)  # without it the scan cannot be prepared
        hu, body, grid = _with_body(scan)
    except UserError as error:
        return replace(facts, problem=str(error))
    except OSError as error:
        return replace(facts, problem=f"{path} cannot be read ({error.strerror or error}); check the file and its permissions.")
    extent = [BODY_MM * (np.ptp(axis) + 1) for axis in body.nonzero()]
    return replace(facts, body_extent_mm=_rounded(extent), body_ml=round(int(body.sum()) * BODY_MM ** 3 / 1000, 1),
                   mean_hu=round(float(hu[body].mean()), 1))


def _geometry(grid: Grid) -> dict:
    """Shape, spacing, orientation and extent of a grid, as in `ScanFacts`."""
    cosines = grid.affine[:3, :3] / grid.spacing  # columns: the array's axes
    axes = max(permutations(range(3)), key=lambda order: sum(abs(cosines[world, axis]) for axis, world in enumerate(order)))
    letters = [("RL", "AP", "SI")[world][int(cosines[world, axis] < 0)] for axis, world in enumerate(axes)]
    extent = grid.spacing * grid.shape
    return {"shape": grid.shape, "spacing_mm": _rounded(grid.spacing), "orientation": "".join(letters),
            "extent_mm": _rounded(extent[axes.index(world)] for world in range(3))}


def _rounded(values) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def _with_body(scan: Volume) -> tuple[np.ndarray, np.ndarray, Grid]:
    """(HU, the body's mask, their grid of 4 mm along the world's axes)."""
    grid = bounding_grid([scan.grid], BODY_MM)
    hu = resample(scan.tensor.clamp(AIR_HU, MAX_HU), scan.grid, grid, fill=AIR_HU)[0]
    return hu.numpy(), body_mask(hu).numpy(), grid


def check_cohort(template: Path, images: Path, jobs: int = 1, progress: Progress = silent) -> Cohort:
    """Read the template and every scan of ``images`` (see `list_cohort`) and say what is wrong with them.

    The template itself is left out of the cohort. ``jobs`` processes share the scans. Raises UserError if the template
    cannot be used and if there is no other scan.
    """
    paths = [path for path in list_cohort(images) if path.resolve() != Path(template).resolve()]
    if not paths:
        raise UserError(f"{images} holds no scan besides the template; add the cohort's scans.")
    fixed = look_at(template)
    if fixed.problem:
        raise UserError(f"The template cannot be used: {fixed.problem}")
    found = {}
    progress("check", 0.0, f"0 of {len(paths)}")
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    for facts in parallel(joblib.delayed(_look_alone)(path) for path in paths):
        found[facts.name] = facts
        progress("check", len(found) / len(paths), f"{len(found)} of {len(paths)}: {facts.name}")
    return _judged(Cohort(fixed, [found[stem(path)] for path in paths]))


def _look_alone(path: Path) -> ScanFacts:
    """`look_at` on one thread, since other processes use the other cores; the caller's own number of threads is kept."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return look_at(path)
    finally:
        torch.set_num_threads(threads)


def _judged(cohort: Cohort) -> Cohort:
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
    extents, volumes, means = (np.array(v) for v in zip(*((s.body_extent_mm[2], s.body_ml / 1000, s.mean_hu) for s in scans)))
    usual = Counter(scan.orientation for scan in scans).most_common(1)[0][0]
    far_edges = np.stack([_far(np.log(edge), FLOORS["spacing"]) for edge in edges.T], 1)
    far_extents = _far(extents, FLOORS["extent"] * np.median(extents))
    far_volumes = _far(volumes, FLOORS["volume"] * np.median(volumes))
    far_means = _far(means, FLOORS["hu"])
    sentences = []
    for i, scan in enumerate(scans):
        said = [f"Voxels of {edges[i, axis]:.3g} mm along {'RAS'[axis]}, usual are {np.median(edges[:, axis]):.3g} mm."
                for axis in range(3) if far_edges[i, axis]]
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
    lines = [f"{len(cohort.scans)} scans, {len(usable)} usable; template {template.name}, "
             f"{' x '.join(map(str, template.shape))} voxels, {template.orientation}"]
    if read:
        edges = np.array([scan.along(scan.spacing_mm) for scan in read])
        ranges = ", ".join(f"{axis} {_range(edge, '.3g')}" for axis, edge in zip("RAS", edges.T))
        orientations = Counter(scan.orientation for scan in read).most_common()
        views = [_range([scan.extent_mm[axis] for scan in read], ".0f") for axis in range(3)]
        lines += [f"Voxels in mm: {ranges}",
                  f"Orientations: {', '.join(f'{name} ({count})' for name, count in orientations)}",
                  f"Fields of view in mm: R {views[0]}, A {views[1]}, S {views[2]}",
                  f"Length of the body in mm: {_range([scan.body_extent_mm[2] for scan in read], '.0f')}, "
                  f"of the template {template.body_extent_mm[2]:.0f}"]
    for title, texts in (("Cannot be used", [(scan, scan.problem) for scan in cohort.scans if scan.problem]),
                         ("Copies, left out", [(scan, f"the same voxels as {scan.same_as}") for scan in read if scan.same_as]),
                         ("Unusual, used all the same", [(scan, " ".join(scan.unusual)) for scan in read if scan.unusual])):
        if texts:
            lines += [f"{title}: {len(texts)}", *(f"  {scan.name}: {text}" for scan, text in texts)]
    return "\n".join(lines)


def _range(values, style: str) -> str:
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"


def estimate(cohort: Cohort, voxels: int, preset: str, iterations: int, batch: int, jobs: int, cuda: bool) -> Estimate:
    """Time, memory and disk of a training on the cohort's usable scans.

    voxels: of the canonical frame (`preparation.fit_shape`); all but the processes' own memory grows in proportion to them.
    jobs: processes of the teacher. cuda: whether the network is trained on a GPU; the memory is the computer's, not the GPU's.
    """
    seconds = (CUDA_TRAINING_SECONDS if cuda else TRAINING_SECONDS).get(preset)
    if seconds is None:
        raise UserError(f"There is no preset {preset}; choose one of {', '.join(TRAINING_SECONDS)}.")
    scans, size = len(cohort.usable), voxels / MEASURED_VOXELS
    at_once = max(1, min(jobs, scans))
    note = "reckoned from a server CPU, two of its cores for the training; other computers differ"
    if cuda:
        note = "the training's time on a GPU is assumed, not measured"
    elif preset == "unet":
        note += "; the unet's time is estimated, not measured"
    return Estimate(
        teacher_hours=TEACHER_SECONDS * size * scans / at_once / 3600,
        training_hours=seconds * size * iterations * batch / 3600,
        memory_gb=max(TRAINING_GB + TRAINING_GB_PER_SCAN[preset] * size * batch, TEACHER_GB * max(1.0, size) * at_once),
        disk_gb=STUDY_MB * size * scans / 1000,
        note=note)


def save_cohort(folder: Path, cohort: Cohort) -> None:
    """Write `cohort.json` and, if scans are unusual or copies, their thumbnails; those of an earlier check are removed."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": COHORT_VERSION, "summary": summary(cohort), **asdict(cohort)}
    with atomic(folder / REPORT) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    reasons = [(scan, [f"Copy of {scan.same_as}."] if scan.same_as else scan.unusual) for scan in cohort.scans]
    shown = sorted(((scan, texts) for scan, texts in reasons if texts), key=lambda entry: _harmless(entry[1]))
    (folder / PICTURE).unlink(missing_ok=True)
    if shown:
        _draw(folder / PICTURE, cohort.template, shown)


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


def _harmless(texts: list[str]) -> bool:
    return all(HARMLESS in text for text in texts)


def thumbnail(scan: Volume, pixel_mm: float = PIXEL_MM) -> tuple[np.ndarray, np.ndarray]:
    """The coronal and the sagittal slice through the middle of the body, HU in square pixels, as they are looked at.

    (rows, columns) float32; superior is up, the patient's right on the left of the coronal slice, anterior on the right of
    the sagittal one. Both cover the whole scan.
    """
    _, body, coarse = _with_body(scan)
    middle = coarse.to_world([(axis.min() + axis.max()) / 2 for axis in body.nonzero()])
    around = bounding_grid([scan.grid], pixel_mm)
    slices = []
    for axis in (1, 0):
        shape, affine = list(around.shape), around.affine.copy()
        shape[axis], affine[axis, 3] = 1, middle[axis]
        slices.append(resample(scan.tensor, scan.grid, Grid(tuple(shape), affine), fill=AIR_HU).numpy().squeeze((0, 1 + axis)))
    coronal, sagittal = slices
    return coronal.T[::-1, ::-1], sagittal.T[::-1]


def _draw(path: Path, template: ScanFacts, shown: list[tuple[ScanFacts, list[str]]]) -> None:
    """The template and up to 24 scans with the reasons, all at one scale, as PNG."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    entries = [(template, ["The template."]), *shown[:THUMBNAILS]]
    images = _on_one_size([thumbnail(load_scan(facts.path)) for facts, _ in entries])
    reasons = [textwrap.wrap(" ".join(texts), 50, max_lines=TITLE_LINES, placeholder=" ...") for _, texts in entries]
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    gap, foot = 0.15, 0.3  # inches, as all lengths here
    height = TILE_INCHES * images[0].shape[0] / images[0].shape[1]
    title = 0.28 + 0.16 * max(map(len, reasons))
    size = np.array([gap + columns * (TILE_INCHES + gap), gap + rows * (title + height + gap) + foot])
    figure = Figure(figsize=size, facecolor="black")
    colours = colormaps["gray"].with_extremes(bad="0.16")  # bad: around the scans
    for number, ((facts, texts), image, reason) in enumerate(zip(entries, images, reasons)):
        row, column = divmod(number, columns)
        corner = np.array([gap + column * (TILE_INCHES + gap), size[1] - gap - row * (title + height + gap)])  # top left
        axes = figure.add_axes((*(corner - (0, title + height)) / size, *(TILE_INCHES, height) / size))
        axes.imshow(np.ma.masked_invalid(image), cmap=colours, vmin=PICTURE_HU[0], vmax=PICTURE_HU[1])
        axes.set_axis_off()
        colour = "0.7" if facts is template or _harmless(texts) else "#ffb347"
        figure.text(*corner / size, _shortened(facts.name, 36), color="white", fontsize=11, weight="bold", va="top")
        figure.text(*(corner - (0, 0.21)) / size, "\n".join(reason), color=colour, fontsize=9, va="top")
    more = len(shown) + 1 - len(entries)
    note = "All at one scale." + (f" {more} more are not shown." if more else "")
    figure.text(*(gap, gap) / size, note, color="0.7", fontsize=9)
    with atomic(path) as part:
        figure.savefig(part, dpi=DPI, format="png", facecolor="black")


def _shortened(name: str, length: int) -> str:
    half = length // 2 - 2
    return name if len(name) <= length else f"{name[:half]}...{name[-half:]}"


def _on_one_size(pairs: list[tuple[np.ndarray, np.ndarray]], gap: int = 6) -> list[np.ndarray]:
    """Each pair of slices side by side, padded with NaN to the size of the largest, so that all are drawn at one scale."""
    height = max(len(coronal) for coronal, _ in pairs)
    widths = [max(pair[side].shape[1] for pair in pairs) for side in (0, 1)]
    images = []
    for pair in pairs:
        image = np.full((height, widths[0] + gap + widths[1]), np.nan, np.float32)
        for part, start, width in zip(pair, (0, widths[0] + gap), widths):
            top, left = (height - len(part)) // 2, start + (width - part.shape[1]) // 2
            image[top:top + len(part), left:left + part.shape[1]] = part
        images.append(image)
    return images
