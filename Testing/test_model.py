"""Model files: what goes in comes out, the bytes depend on the content alone, and a bad file is one sentence."""

import hashlib
import io
import json
import pickle
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.files import MODEL_VERSION
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.volumes import Volume
from SlicRegLib.registration.key_points import KeyPoints
from SlicRegLib.registration.model import Model, load_model, save_model
from tiny import tiny_net

FRAME = Grid.centred((1.5, -20.25, 300.125), (16, 16, 32), 4.0)
PROVENANCE = {"cohort": "phantoms", "training": {"iterations": 7}, "validation": {"loss": 1.5}}


def make(**changes) -> Model:
    layers = np.random.default_rng(0).integers(0, 128, (2, *FRAME.shape), dtype=np.uint8)
    content = dict(
        net=tiny_net(),
        preparation=PreparationOptions(shape=FRAME.shape),
        layers=layers,
        template_grid=FRAME,
        template_sha256="ab" * 32,
        provenance=PROVENANCE,
    )
    return Model(**{**content, **changes})


def template() -> dict[str, Volume]:
    rng = np.random.default_rng(1)
    grid = Grid((9, 10, 11), np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]]))
    return {
        "template": Volume(rng.integers(-1000, 2000, grid.shape).astype(np.float32), grid),
        "template_labels": Volume(rng.integers(0, 300, grid.shape).astype(np.uint16), grid),
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.slicreg"


def rewrite(path, name: str, content: bytes | None) -> None:
    """The file with one member replaced, or left out."""
    with zipfile.ZipFile(path) as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    parts[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for n, part in parts.items():
            if part is not None:
                archive.writestr(n, part)


def test_what_goes_in_comes_out(path):
    model = make()
    save_model(path, model)
    back = load_model(path)
    assert back.net.options == model.net.options
    assert back.preparation == model.preparation
    assert back.provenance == PROVENANCE and back.template_sha256 == "ab" * 32
    assert back.layers.dtype == np.uint8 and np.array_equal(back.layers, model.layers)
    assert np.array_equal(back.template_grid.affine, FRAME.affine) and back.template_grid.shape == FRAME.shape
    for (name, weight), (other, loaded) in zip(
        model.net.state_dict().items(), back.net.state_dict().items(), strict=True
    ):
        assert name == other and loaded.dtype == weight.dtype
        assert torch.equal(loaded, weight.half().float())
    assert not back.net.training and not any(p.requires_grad for p in back.net.parameters())
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(back.net(image), model.net.eval()(image), rtol=0.02, atol=0.02)
    assert [p.name for p in path.parent.iterdir()] == ["model.slicreg"]


def test_template_and_labels_come_back_where_they_were_put_in(path):
    given = template()
    save_model(path, make(**given))
    back = load_model(path)
    for name, volume in given.items():
        loaded = getattr(back, name)
        assert np.array_equal(loaded.data, volume.data) and loaded.data.dtype == volume.data.dtype
        assert np.array_equal(loaded.grid.affine, volume.grid.affine)
    assert back.template.fingerprint() == given["template"].fingerprint()
    assert back.summary()["template_included"] and back.summary()["template_labels_included"]


def test_key_points_come_back_to_half_precision(path):
    points, features, centroids = (
        torch.randn(50, 3) * 300,
        torch.rand(50, 32),
        torch.rand(2, 128, 4, dtype=torch.float64),
    )
    save_model(path, make(key_points=KeyPoints(points, features, centroids)))
    back = load_model(path).key_points.to(torch.device("cpu"))
    assert torch.equal(back.points, points) and torch.equal(back.centroids, centroids)
    assert back.features.dtype == torch.float32 and torch.equal(back.features, features.half().float())
    with zipfile.ZipFile(path) as archive:
        assert "key_points.npz" in archive.namelist()


def test_a_template_without_labels(path):
    save_model(path, make(template=template()["template"]))
    assert load_model(path).template is not None and load_model(path).template_labels is None


def test_no_template_unless_asked(path):
    save_model(path, make())
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["bundle.json", "weights.safetensors", "supervoxels.npz"]
    back = load_model(path)
    assert back.template is None and back.template_labels is None and back.key_points is None
    assert not back.summary()["template_included"]


def test_members_are_json_safetensors_and_plain_arrays(path):
    save_model(path, make(**template()))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["bundle.json", "weights.safetensors", "supervoxels.npz", "template.npz"]
        about = json.loads(archive.read("bundle.json"))
        assert about["version"] == 1 and about["network"] == json.loads(json.dumps(asdict(tiny_net().options)))
        for name in ("supervoxels.npz", "template.npz"):
            with np.load(io.BytesIO(archive.read(name)), allow_pickle=False) as arrays:
                assert all(arrays[k].dtype != object for k in arrays)
        header = archive.read("weights.safetensors")
        assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
        sums = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()[1:]}
    stated = about.pop("sha256")
    assert stated.pop("bundle.json") == hashlib.sha256(json.dumps(about).encode()).hexdigest() and stated == sums
    assert load_model(path).summary() == {
        **about,
        "preparation": {**about["preparation"], "shape": FRAME.shape},
        "network": asdict(tiny_net().options),
    }


def test_equal_content_gives_equal_bytes(path):
    files = []
    for changes in ({}, {}, {"provenance": {}}):
        save_model(path, make(**template(), **changes))
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]
    save_model(path, load_model(path))  # through the file and back
    assert path.read_bytes() == files[2]


def test_a_failed_save_leaves_the_old_file(path):
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        save_model(path, make(provenance={"not": {"json"}}))
    assert path.read_bytes() == b"old" and len(list(path.parent.iterdir())) == 1


class Trap:
    def __reduce__(self):
        return (print, ("a pickle was run",))


def traps() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, layers=np.array([Trap()], dtype=object), affine=np.eye(4))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name, content",
    [
        ("bundle.json", None),
        ("bundle.json", b"{"),
        ("bundle.json", b"{}"),
        ("bundle.json", b"[1]"),
        ("bundle.json", b'{"version": "x"}'),
        ("weights.safetensors", None),
        ("weights.safetensors", pickle.dumps({})),
        ("supervoxels.npz", b"PK"),
        ("supervoxels.npz", traps()),
        ("template.npz", b"\x00"),
        ("key_points.npz", b"PK"),
    ],
)
def test_a_bad_member_is_one_sentence(path, capfd, name, content):
    save_model(path, make())
    rewrite(path, name, content)
    with pytest.raises(UserError, match="corrupt or not a SlicReg model") as error:
        load_model(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "pickle" not in capfd.readouterr().out


def test_weights_of_another_network_are_refused(path):
    save_model(path, make())
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("bundle.json"))
    about["network"]["hidden"] = 32
    rewrite(path, "bundle.json", json.dumps(about).encode())
    with pytest.raises(UserError, match="corrupt"):
        load_model(path)


def test_a_newer_version_asks_for_an_update(path):
    save_model(path, make())
    rewrite(path, "bundle.json", json.dumps({"version": MODEL_VERSION + 1}).encode())
    with pytest.raises(UserError, match=r"newer .*update SlicReg"):
        load_model(path)


def test_a_file_that_is_no_model_is_refused(path):
    with pytest.raises(UserError, match="does not exist"):
        load_model(path)
    with pytest.raises(UserError, match="is a folder"):
        load_model(path.parent)
    save_model(path, make())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"", b"not a zip", whole[: len(whole) // 2], whole[:-30], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="corrupt"):
            load_model(path)
