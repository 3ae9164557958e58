"""Which DICOM files belong together, and which of them are the scan that is meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .dicom_tags import Header, is_dicom, read_header
from .files import MIN_SLICES, split_series

MAX_FILES = 20_000
"""Files that are searched in a folder, at most."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Its class, and the beginning of those with several frames."""
SYNTAX, KIND, SERIES_UID, FILE_UID = 0x00020010, 0x00080016, 0x0020000E, 0x00080018
IMAGE_TYPE, MODALITY, DESCRIPTION, NUMBER = 0x00080008, 0x00080060, 0x0008103E, 0x00200011
FRAMES, SAMPLES, POSITION, DIRECTIONS = 0x00280008, 0x00280002, 0x00200032, 0x00200037
FRAME_ITEMS, SHARED_ITEMS = 0x52009230, 0x52009229


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one CT series, in no order."""

    uid: str
    files: list[Header]
    notes: tuple[str, ...] = ()
    damaged: tuple[Path, ...] = ()
    """Files beside it that are called .dcm, but hold no DICOM: slices may be lost with them."""

    @property
    def number(self) -> str:
        return self.files[0].text(NUMBER)

    @property
    def slices(self) -> int:
        return sum(max(1, count_frames(header)) for header in self.files)

    def describe(self, by_uid: bool = False) -> str:
        """Number or UID, description and slices, for people."""
        name = self.files[0].text(DESCRIPTION) or "without description"
        return f"{self.uid if by_uid else self.number or self.uid} ({name[:40]}, {count(self.slices, 'slice')})"


def find_series(path: Path, wanted: str = "") -> Series:
    """The CT series that a folder holds, or to which one of its files belongs.

    wanted: number or UID of a series where there are several. Everything else in the folder, such as localizers,
    screenshots and structure sets, is passed over. Raises UserError where there is no CT series, and where the choice
    is open.
    """
    folder, own = path, ""
    if path.is_file():
        folder, header = path.parent, read_header(path)
        if header is None:
            raise UserError(f"{path} cannot be read as an image (it is no DICOM file); choose a CT scan.")
        if path.name.upper() != "DICOMDIR":
            if what := describe_other(header):
                raise UserError(f"{path} holds {what}, no CT slice; choose a CT scan.")
            own = header.text(SERIES_UID)
            if count_frames(header) > 1 and not wanted:
                return Series(own, [header])
    ct, others, damaged = _sort(folder)
    if not ct:
        if damaged and not others:
            raise UserError(f"{damaged[0]} is called .dcm, but holds no DICOM; copy it again.")
        if not others:
            raise UserError(f"{path} is a folder without a DICOM series; give the file of a scan.")
        kinds = ", ".join(what for what, _ in others.most_common())
        raise UserError(f"{path} holds no CT series, but {kinds}; choose a CT scan.")
    if own and not wanted:
        return _without_copies(path, Series(own, ct[own], damaged=damaged))
    found = [Series(uid, files, damaged=damaged) for uid, files in ct.items()]
    if wanted:
        named = [one for one in found if wanted.strip() in (one.uid, one.number)]
        named = [one for one in named if one.slices >= MIN_SLICES] or named
        if len(named) == 1:
            return _without_copies(path, named[0])
        problem = f"has no series {wanted}" if not named else f"has several series {wanted}"
        raise UserError(f"{path} {problem}; it holds {_list(found)}.")
    large = [one for one in found if one.slices >= MIN_SLICES] or found
    if len(large) > 1:
        raise UserError(
            f"{path} holds {len(large)} CT series: {_list(large)}; choose one by its "
            f"{'number or UID' if _have_own_numbers(large) else 'UID'} with --series "
            "(--template-series for the template), or give one of its files."
        )
    return _without_copies(path, large[0])


def choose_series(path: Path, wanted: str) -> Path:
    """The DICOM folder with its series, as ``folder#3``; the path itself if no series is wanted.

    Raises UserError where there is no such series, or no DICOM.
    """
    if not wanted:
        return path
    if not path.exists():
        raise UserError(f"{path} does not exist; check the file name.")
    if not (path.is_dir() or is_dicom(path)):
        raise UserError(f"{path} is no DICOM series; leave out the number of a series.")
    find_series(path, wanted)
    return Path(f"{path if path.is_dir() else path.parent}#{wanted.strip()}")


def choose_each_series(paths: Iterable[Path], wanted: str) -> list[Path]:
    """A cohort's scans, each DICOM folder that holds the wanted series with it, as ``folder#3``."""
    return [_choose_if_there(path, wanted) if wanted and path.is_dir() else path for path in paths]


def _choose_if_there(path: Path, wanted: str) -> Path:
    try:
        return choose_series(path, wanted)
    except (UserError, OSError):  # one scan does not stop the others: what is wrong is told when it is read
        return path


def is_same_scan(a: str | Path, b: str | Path) -> bool:
    """Whether two paths lead to one scan: a DICOM folder, one of its files and ``folder#3`` do."""
    if Path(a).resolve() == Path(b).resolve():
        return True
    try:
        (one, uid, number), (other, other_uid, other_number) = _locate(Path(a)), _locate(Path(b))
    except OSError:
        return False
    if one is None or other is None or not (one == other or one in other.parents or other in one.parents):
        return False
    named = uid == number or other_uid == other_number  # a file knows both, and two files are told by the UID
    return not uid or not other_uid or uid == other_uid or (named and number == other_number)


def _locate(path: Path) -> tuple[Path | None, str, str]:
    """The folder of a DICOM series, None if it is none; its UID and number, "" if unknown, twice the same if either."""
    folder, series = split_series(path)
    if folder.is_dir():
        return folder.resolve(), series, series
    if not is_dicom(path) or (header := read_header(path)) is None:
        return None, "", ""
    return path.resolve().parent, header.text(SERIES_UID), header.text(NUMBER)


def describe_other(header: Header) -> str:
    """What a file is if it is no slice of a CT scan; "" if it is one."""
    kind, modality = header.text(KIND), header.text(MODALITY)
    if kind.startswith(SECONDARY_CAPTURE):
        return "secondary captures (screenshots)"
    if modality not in ("CT", ""):
        return f"{modality} objects"
    if header.is_complete and not header.has_pixels:
        return "objects without pixels"
    if "LOCALIZER" in header.text(IMAGE_TYPE).upper():
        return "localizers"
    if header.integer(SAMPLES, 1) > 1:
        return "colour images"
    if header.is_complete and not (header.text(POSITION) or header.sequence(FRAME_ITEMS)):
        return "images without position"
    return ""


def count(number: int, what: str) -> str:
    """A number and its noun, such as "1 slice" or "2 slices"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def count_frames(header: Header) -> int:
    """Frames of a file of several frames; 1 for an ordinary slice."""
    text = header.text(FRAMES)
    return int(text) if text.isdigit() else 1


def list_files(folder: Path) -> Iterator[Path]:
    """The files of a folder that may be DICOM: its own, or, where there are none, those of its sub-folders."""
    own = sorted(p for p in folder.iterdir() if p.is_file() and _may_be_dicom(p))
    if any(read_header(p) is not None for p in own):
        yield from own
        return
    yield from sorted(p for p in _first(folder.rglob("*"), folder) if p.is_file() and _may_be_dicom(p))


def _first(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    for number, path in enumerate(paths):
        if number >= MAX_FILES:
            raise UserError(f"{folder} has more than {MAX_FILES} files; give the folder of the series itself.")
        yield path


def _may_be_dicom(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.upper() != "DICOMDIR"


def _sort(folder: Path) -> tuple[dict[str, list[Header]], Counter[str], tuple[Path, ...]]:
    """(UID -> the slices of each CT series, how many files are of each other kind, `Series.damaged`)."""
    ct: dict[str, list[Header]] = {}
    damaged = []
    others: Counter[str] = Counter()
    for file in list_files(folder):
        header = read_header(file)
        if header is None:
            if file.name.lower().endswith(".dcm"):
                damaged.append(file)
        elif not (header.is_complete or header.text(SERIES_UID)):
            raise UserError(f"{file} is incomplete; copy or export the series again.")
        elif what := describe_other(header):
            others[what] += 1
        else:
            ct.setdefault(header.text(SERIES_UID), []).append(header)
    return ct, others, tuple(damaged)


def _without_copies(path: Path, series: Series) -> Series:
    """Copies of a file, as folders have that were exported twice, count once. Notes them, and damaged files."""
    first: dict[str, Header] = {}
    for number, header in enumerate(series.files):
        first.setdefault(header.text(FILE_UID) or str(number), header)
    notes = list(series.notes)
    if copies := len(series.files) - len(first):
        notes.append(f"{path} holds copies of {count(copies, 'slice')} of the series; each is used once.")
    if series.damaged:
        name = series.damaged[0].name
        others = f" and {count(len(series.damaged) - 1, 'other')}" if len(series.damaged) > 1 else ""
        are, hold, were = ("are", "hold", "were") if others else ("is", "holds", "was")
        notes.append(
            f"{name}{others} in {series.damaged[0].parent} {are} called .dcm, but {hold} no DICOM, and {were} left "
            "out; the scan may lack slices at an end."
        )
    return Series(series.uid, list(first.values()), tuple(notes), series.damaged)


def _list(series: list[Series]) -> str:
    by_uid = not _have_own_numbers(series)
    return ", ".join(one.describe(by_uid) for one in sorted(series, key=lambda one: (len(one.number), one.number)))


def _have_own_numbers(series: list[Series]) -> bool:
    return len({one.number for one in series}) == len(series)
