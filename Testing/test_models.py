"""Model files: their description, and adding and removing the user's own."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.registration import installed_models, model_parts
from SlicRegLib.registration.installed_models import add_model, list_models, remove_model
from SlicRegLib.registration.model_header import read_model

BUNDLED = Path(__file__).resolve().parents[1] / "SlicRegExtension" / "Resources" / "Models"
PHANTOM = BUNDLED / "trunk-phantom.slicreg"
ABOUT = {
    "version": 1,
    "network": {"kind": "unet"},
    "preparation": {"spacing_mm": 4.0, "shape": [16, 16, 16]},
    "provenance": {},
}


def write(path: Path, about=ABOUT, parts=model_parts.NEEDED) -> Path:
    """A model file without a network."""
    with zipfile.ZipFile(path, "w") as archive:
        for part in parts:
            archive.writestr(part, about if isinstance(about, str) else json.dumps(about))
    return path


def test_the_bundled_models(tmp_path):
    found = list_models(BUNDLED, tmp_path / "none")
    assert [m.name for m in found] == ["headneck-openkbp", "trunk-phantom"] and all(
        m.bundled and m.usable for m in found
    )
    head, trunk = found
    assert (head.anatomy, trunk.anatomy) == ("head and neck", "trunk")
    assert head.voxel_mm == 4.0 and head.frame_mm == (576, 320, 448) and head.cohort.startswith("80 head-and-neck")
    assert head.figures == "loss 0.456, 84.5 % of voxels classified correctly (128 classes)"
    text = head.describe()
    assert text.splitlines()[0] == "headneck-openkbp" and 6 <= len(text.splitlines()) <= 12
    for words in (
        "Template: average of 80 scans",
        "Field of view: 576 x 320 x 448 mm, voxels of 4 mm",
        "4.5 million parameters",
        "1600 + 1500 steps",
        "Validation: loss 0.456",
        "File: bundled, 15.6 MB",
        f"SHA-256: {hashlib.sha256(head.path.read_bytes()).hexdigest()[:16]}",
    ):
        assert words in text
    assert "Mandible" in text


def test_broken_files_are_listed_with_the_reason(tmp_path):
    whole = PHANTOM.read_bytes()
    (tmp_path / "cut.slicreg").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 3
    (tmp_path / "flipped.slicreg").write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    (tmp_path / "empty.slicreg").write_bytes(b"")
    (tmp_path / "folder.slicreg").mkdir()
    (tmp_path / "gone.slicreg").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "newer.slicreg", {**ABOUT, "version": 99})
    write(tmp_path / "list.slicreg", [1, 2])
    write(tmp_path / "text.slicreg", "{")
    write(tmp_path / "deep.slicreg", "[" * 100000)
    write(tmp_path / "lacking.slicreg", {"version": 1})
    write(tmp_path / "parts.slicreg", parts=["bundle.json"])
    write(tmp_path / "huge.slicreg", " " * (model_parts.LIMITS["bundle.json"] + 1))
    write(tmp_path / ".hidden.slicreg")
    (tmp_path / "readme.txt").write_text("not a model")
    reasons = {m.name: m.problem for m in list_models(tmp_path / "none", tmp_path)}
    expected = {
        "cut": "damaged",
        "flipped": "damaged",
        "empty": "damaged",
        "folder": "cannot be read",
        "gone": "cannot be read",
        "newer": "newer SlicReg",
        "list": "not a SlicReg model",
        "text": "damaged",
        "deep": "damaged",
        "lacking": "lacks network",
        "parts": "weights.safetensors",
        "huge": "too large",
    }
    assert set(reasons) == set(expected)
    for name, words in expected.items():
        assert words in reasons[name], (name, reasons[name])
    assert all("cannot be used" in m.describe() for m in list_models(tmp_path / "none", tmp_path))


@pytest.mark.parametrize(
    "odd", [{}, {"cohort": 3, "validation": [], "training": 5}, {"validation": {"validation_loss": "x"}}]
)
def test_models_with_little_information_are_described_too(tmp_path, odd):
    model = read_model(
        write(tmp_path / "plain.slicreg", {**ABOUT, "provenance": odd, "preparation": {"shape": ["a", 1, 2]}})
    )
    assert model.usable and model.figures == "" and model.voxel_mm is None and model.describe().startswith("plain\n")


def test_anatomy_as_stated_or_as_the_name_and_cohort_reveal(tmp_path):
    for name, provenance, anatomy in (
        ("lung", {"anatomy": "thorax of dogs"}, "thorax of dogs"),
        ("some", {}, ""),
        ("mine", {"cohort": "20 chest CTs"}, "thorax"),
    ):
        assert read_model(write(tmp_path / f"{name}.slicreg", {**ABOUT, "provenance": provenance})).anatomy == anatomy


def test_add_and_remove(tmp_path):
    user = tmp_path / "new" / "models"
    model = add_model(PHANTOM, user)
    assert "File: added by you" in model.describe()
    assert model.usable and not model.bundled and model.path.read_bytes() == PHANTOM.read_bytes()
    assert [(m.name, m.bundled) for m in list_models(BUNDLED, user)] == [
        ("headneck-openkbp", True),
        ("trunk-phantom", True),
        ("trunk-phantom", False),
    ]
    assert add_model(PHANTOM, user) == model and add_model(model.path, user) == model  # the same one again
    remove_model(model)
    remove_model(model)
    assert list(user.iterdir()) == []
    with pytest.raises(UserError, match="part of the extension"):
        remove_model(list_models(BUNDLED, user)[0])
    assert PHANTOM.is_file()


def test_what_cannot_be_added(tmp_path):
    user = tmp_path / "models"
    mine = write(tmp_path / "mine.slicreg")
    add_model(mine, user)
    kept = (user / "mine.slicreg").read_bytes()
    write(mine, {**ABOUT, "provenance": {"cohort": "others"}})
    (tmp_path / "bad.slicreg").write_bytes(b"PK")
    for path, words in (
        (mine, "Another model named mine"),
        (tmp_path / "none.slicreg", "does not exist"),
        (tmp_path / "bad.slicreg", "damaged"),
        (write(tmp_path / "mine.zip"), r"must end in \.slicreg \(got mine\.zip\)"),
    ):
        with pytest.raises(UserError, match=words) as raised:
            add_model(path, user)
        assert "\n" not in str(raised.value)
    assert [p.name for p in user.iterdir()] == ["mine.slicreg"] and (user / "mine.slicreg").read_bytes() == kept
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be copied"):
        add_model(mine, tmp_path / "file" / "models")


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installed_models.shutil, "copyfile", full)
    with pytest.raises(UserError, match="No space left"):
        add_model(PHANTOM, tmp_path)
    assert os.listdir(tmp_path) == []
