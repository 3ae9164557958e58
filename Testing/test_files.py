"""File names, folders of images, and files that are written whole or not at all."""

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import atomic, list_images, remove_partial_files, stem


def test_names(tmp_path):
    assert [stem(n) for n in ("a/pt_1.nii.gz", "x.y.nrrd", "z.NII", "plain")] == ["pt_1", "x.y", "z", "plain"]
    for name in ("b.nii.gz", "a.mha", "notes.txt", ".c.nii"):
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["a.mha", "b.nii.gz"]


def test_no_images(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="folder"):
            list_images(folder)


def test_atomic_leaves_nothing_on_failure(tmp_path):
    path = tmp_path / "result.nii.gz"
    for content in (None, "kept"):
        if content:
            path.write_text(content)
        with pytest.raises(RuntimeError), atomic(path) as part:
            part.write_text("half")
            raise RuntimeError
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if content else [])
    assert path.read_text() == "kept"
    with atomic(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_the_rest_of_a_killed_writer_is_removed_and_nothing_else(tmp_path):
    kept = tmp_path / "scan.nii.gz"
    for path in (kept, tmp_path / "notes.txt"):
        path.write_text("kept")
    unfinished = atomic(kept).__enter__()  # killed before it can clean up
    unfinished.write_text("half")
    assert len(list(tmp_path.iterdir())) == 3
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "scan.nii.gz"]
    assert kept.read_text() == "kept"
