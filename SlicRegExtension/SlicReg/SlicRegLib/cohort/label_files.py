"""Label files of scans, found by name. Without torch, as Slicer uses it."""

from __future__ import annotations

from pathlib import Path

from ..images.files import IMAGE_SUFFIXES


def find_labels(folder: Path, name: str) -> Path | None:
    """The label file of the scan called ``name``: of that name in ``folder``, with any image suffix in any case.

    Without one, a segmentation called ``name.seg`` or ``name-seg``, or labels called label0001 of a scan img0001.
    """
    return find_labels_among(list_label_files(folder), name)


def find_labels_among(files: list[Path], name: str) -> Path | None:
    """As `find_labels`, in a folder that `list_label_files` has read."""
    found = {path.name: path for path in files}
    known = [name, f"{name}.seg", f"{name}-seg"]
    if name.startswith("img"):
        known.append(f"label{name.removeprefix('img')}")
    names = [(kept, suffix) for kept in known for suffix in IMAGE_SUFFIXES]
    for kept, suffix in names:
        for file, path in found.items():
            if file.startswith(kept) and file[len(kept) :].lower() == suffix:
                return path
    return None


def list_label_files(folder: Path) -> list[Path]:
    """The image files of a folder; none where there is no folder."""
    paths = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
    return [path for path in paths if path.name.lower().endswith(IMAGE_SUFFIXES) and path.is_file()]
