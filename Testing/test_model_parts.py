"""Hostile model files: changed on purpose, with sums that fit, as an older version would write them without any."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from SlicRegLib.errors import UserError
from SlicRegLib.registration.key_points import KeyPoints
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.model_header import read_model
from test_model import make, rewrite, template


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.slicreg"


def change(path, part: str, edit) -> None:
    """The file with one part edited, and without sums."""
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("bundle.json"))
        content = archive.read(part)
    del about["sha256"]
    rewrite(path, "bundle.json", json.dumps(about).encode())
    rewrite(path, part, edit(content if part != "bundle.json" else about))


def about(**sections):
    """An edit of bundle.json: entries of its sections, or whole entries."""

    def edit(content: dict) -> bytes:
        for name, entries in sections.items():
            content[name] = {**content[name], **entries} if isinstance(entries, dict) else entries
        return json.dumps(content).encode()

    return edit


def arrays(**changes):
    """An edit of an NPZ part."""

    def edit(content: bytes) -> bytes:
        with np.load(io.BytesIO(content)) as file:
            parts = {name: file[name] for name in file.files}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{**parts, **{name: change(parts[name]) for name, change in changes.items()}})
        return buffer.getvalue()

    return edit


def weights(change):
    def edit(content: bytes) -> bytes:
        return save({name: change(tensor) for name, tensor in load(content).items()})

    return edit


def spoilt(value: float):
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[3] = value
        return array

    return change


HOSTILE = {
    "a network of 10^9 channels": ("bundle.json", about(network={"widths": [10**9, 10**9]}), "widths must lie between"),
    "a network of 10^9 layers": ("bundle.json", about(network={"layers": 10**9}), "layers must lie between"),
    "a large network": ("bundle.json", about(network={"widths": [1024] * 6, "hidden": 1024}), "weights do not fit"),
    "a network of texts": ("bundle.json", about(network={"widths": ["8", "16"]}), "whole number"),
    "an unknown network": ("bundle.json", about(network={"kind": "other"}), "kind must be one of"),
    "an unknown option": ("bundle.json", about(network={"more": 1}), "TypeError"),
    "a huge frame": ("bundle.json", about(preparation={"shape": [1024, 1024, 1024]}), "too large"),
    "another frame": ("bundle.json", about(preparation={"shape": [32, 16, 16]}), "layers have a wrong"),
    "other voxels": ("bundle.json", about(preparation={"spacing_mm": 5.0}), "do not belong"),
    "no frame": ("bundle.json", about(preparation={"shape": None}), "TypeError"),
    "a number that is none": ("bundle.json", about(preparation={"spacing_mm": float("nan")}), "NaN"),
    "an infinite number": ("bundle.json", lambda c: json.dumps(c).replace("4.0", "1e400").encode(), "1e400"),
    "too many digits": ("bundle.json", lambda c: json.dumps(c).replace("4.0", "4" * 5000).encode(), "444"),
    "no supervoxel": ("supervoxels.npz", arrays(layers=lambda a: a[:0]), "layers have a wrong"),
    "too few layers": ("supervoxels.npz", arrays(layers=lambda a: a[:1]), "layers have a wrong"),
    "layers of floats": ("supervoxels.npz", arrays(layers=lambda a: a.astype(float)), "layers have a wrong"),
    "an unknown supervoxel": ("supervoxels.npz", arrays(layers=spoilt(128)), "do not belong"),
    "a grid without volume": ("supervoxels.npz", arrays(affine=lambda a: a * [0, 1, 1, 1]), "no voxel-to-world"),
    "a grid that is nowhere": ("supervoxels.npz", arrays(affine=spoilt(np.nan)), "not finite"),
    "key points nowhere": ("key_points.npz", arrays(points=spoilt(np.nan)), "not finite"),
    "infinite features": ("key_points.npz", arrays(features=spoilt(np.inf)), "not finite"),
    "too few features": ("key_points.npz", arrays(features=lambda a: a[:4]), "features have a wrong"),
    "other centroids": ("key_points.npz", arrays(centroids=lambda a: a[:, :5]), "centroids have a wrong"),
    "labels of another grid": ("template.npz", arrays(labels=lambda a: a[1:]), "labels have a wrong"),
    "a flat template": ("template.npz", arrays(hu=lambda a: a[0]), "hu have a wrong"),
    "weights that are none": ("weights.safetensors", weights(lambda w: w * float("nan")), "not finite"),
    "weights that overflow": ("weights.safetensors", weights(lambda w: w.double() + 1e300), "not finite"),
    "whole numbers as weights": ("weights.safetensors", weights(lambda w: w.int()), "wrong type"),
    "weights of another shape": ("weights.safetensors", weights(lambda w: w[None]), "do not fit"),
}


@pytest.mark.parametrize("part, edit, words", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_one_sentence(path, part, edit, words):
    points = KeyPoints(torch.randn(50, 3), torch.rand(50, 32), torch.rand(2, 128, 4, dtype=torch.float64))
    save_model(path, make(**template(), key_points=points))
    change(path, part, edit)
    with pytest.raises(UserError, match=words) as error:
        load_model(path)
    assert str(error.value).startswith(f"The model {path} is corrupt") and "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["bundle.json", "weights.safetensors", "supervoxels.npz", "template.npz"])
def test_a_part_that_differs_from_its_sum_is_refused(path, part):
    """Also where the zip file's own sums fit."""
    save_model(path, make(**template()))
    with zipfile.ZipFile(path) as archive:
        content = archive.read(part)
    other = content.replace(b"phantoms", b"patients") if part == "bundle.json" else content[:-1] + b"\0"
    rewrite(path, part, other if other != content else content[:-1] + b"\1")
    with pytest.raises(UserError, match="SHA-256 sums differ"):
        load_model(path)
    assert "SHA-256 sums differ" in read_model(path).problem


def test_a_part_more_or_less_than_the_sums_is_refused(path):
    save_model(path, make(**template()))
    rewrite(path, "template.npz", None)
    with pytest.raises(UserError, match="SHA-256 sums differ"):
        load_model(path)


def test_a_file_of_an_older_version_has_no_sums(path):
    model = make(**template())
    save_model(path, model)
    change(path, "bundle.json", about())
    back = load_model(path)
    assert read_model(path).usable and np.array_equal(back.layers, model.layers)
    assert torch.equal(back.net.classifier[0].weight, model.net.classifier[0].weight.half().float())


def test_loading_changes_no_random_state(path):
    save_model(path, make())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_model(path)
    assert torch.equal(torch.rand(1), expected)


def test_numbers_that_json_does_not_have_are_left_out(path):
    save_model(path, make(provenance={"validation": {"loss": float("nan")}, "best": [float("inf"), 1.5]}))
    assert load_model(path).provenance == {"validation": {"loss": None}, "best": [None, 1.5]}
