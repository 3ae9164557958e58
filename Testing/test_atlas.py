"""The cohort's average: in a file and back, as the refinement compares it, and what it keeps of the scans."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.archive import ArchiveError
from SlicRegLib.images.files import MODEL_VERSION
from SlicRegLib.images.volumes import Volume
from SlicRegLib.registration.atlas import CHANNELS, LEVELS, STORED, Atlas, pack_atlas, unpack_atlas
from SlicRegLib.registration.image_features import WINDOWS
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.model_header import read_model
from SlicRegLib.registration.options import RefinementOptions
from SlicRegLib.results.labels import find_own_template
from test_model import FRAME, make
from test_model_parts import arrays, change

CPU = torch.device("cpu")


def make_atlas(grid: Grid = FRAME, fine: bool = True) -> Atlas:
    rng = np.random.default_rng(5)
    image = grid.halved() if fine else grid
    hu = rng.integers(-1000, 1500, image.shape).astype(np.float32)
    features = rng.integers(0, LEVELS + 1, (10, 8, 20, CHANNELS), np.uint8)
    return Atlas(Volume(hu, image), grid, features, (2, 3, 4), rng.integers(0, 10, grid.shape).astype(np.uint16), 9)


@pytest.mark.parametrize("fine", [True, False])
def test_what_goes_in_comes_out(tmp_path, fine):
    given = make_atlas(fine=fine)
    save_model(tmp_path / "m.slicreg", make(atlas=given, template_sha256=given.image.fingerprint()))
    model = load_model(tmp_path / "m.slicreg")
    back = model.atlas
    for a, b in ((given.image.data, back.image.data), (given.features, back.features), (given.seen, back.seen)):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert back.image.grid.matches(given.image.grid, 1e-9) and back.grid.matches(given.grid, 1e-9)
    assert (back.first, back.scans) == (given.first, 9)
    assert find_own_template(model, "m") == (back.image, None)
    assert model.own_template.fingerprint() == model.template_sha256
    assert model.summary()["version"] == 2 <= MODEL_VERSION and model.summary()["atlas"] == {"scans": 9}
    assert read_model(tmp_path / "m.slicreg").holds_template
    assert "\nTemplate: average of 9 scans, included in the model\n" in read_model(tmp_path / "m.slicreg").describe()


def test_a_model_without_a_template_says_so(tmp_path):
    save_model(tmp_path / "m.slicreg", make())
    assert not read_model(tmp_path / "m.slicreg").holds_template
    with pytest.raises(UserError, match="The model m holds no template of its own; give a template scan"):
        find_own_template(load_model(tmp_path / "m.slicreg"), "m")


def test_the_refinement_compares_the_averaged_features():
    atlas = make_atlas()
    compared = atlas.compared(STORED, CPU)
    np.testing.assert_allclose(compared.features.values.numpy(), atlas.features / LEVELS, atol=1e-6)
    assert compared.features.first.tolist() == [2, 3, 4]
    halved = atlas.compared(RefinementOptions(intensity=0.5), CPU).features.values.numpy()
    np.testing.assert_allclose(halved[..., : -len(WINDOWS)], atlas.features[..., : -len(WINDOWS)] / LEVELS, atol=1e-6)
    np.testing.assert_allclose(
        halved[..., -len(WINDOWS) :], atlas.features[..., -len(WINDOWS) :] / LEVELS / 2, atol=1e-6
    )


def test_features_that_were_not_averaged_are_those_of_its_image():
    """Of another radius; they cover the image's body, not the part that was averaged."""
    grid = Grid.centred((0, 0, 0), (32, 32, 32), 4.0)
    atlas = make_atlas(grid, fine=False)
    hu = np.full(grid.shape, -1000, np.float32)
    hu[10:22, 10:22, 10:22] = 40
    atlas = Atlas(Volume(hu, grid), grid, atlas.features, (2, 3, 4), atlas.seen, 9)
    compared = atlas.compared(RefinementOptions(radius=STORED.radius + 1), CPU)
    assert compared.features.values.shape != atlas.features.shape and compared.scan.hu.max() == 40


def test_the_image_is_brought_to_the_frame():
    """Of the fine image the mean of the voxels in each of the frame's."""
    atlas = make_atlas()
    mean = atlas.image.data.reshape(16, 2, 16, 2, 32, 2).mean((1, 3, 5))
    inner = (slice(1, -1),) * 3
    assert np.corrcoef(atlas.scan.hu.numpy()[inner].ravel(), mean[inner].ravel())[0, 1] > 0.95


def set_to(*values):
    return lambda array: np.array(values, array.dtype)


def moved(mm: float):
    return lambda affine: affine + np.eye(4, k=3) * mm


SIZE, OUTSIDE = "have a wrong type or size", "features lie outside its frame"
HOSTILE = {
    "no arrays": (lambda content: b"PK", "no archive"),
    "an image of floats": (arrays(hu_differences=lambda a: a.astype(np.float32)), SIZE),
    "a flat image": (arrays(hu_differences=lambda a: a[0]), SIZE),
    "an empty image": (arrays(hu_differences=lambda a: a[:0]), SIZE),
    "a smaller image": (arrays(hu_differences=lambda a: a[:-1]), "image lies elsewhere"),
    "an image elsewhere": (arrays(hu_affine=moved(8)), "image lies elsewhere"),
    "an image that is turned": (arrays(hu_affine=lambda a: a * [-1, 1, 1, 1]), "image lies elsewhere"),
    "an image that is nowhere": (arrays(hu_affine=lambda a: a * np.nan), "not finite"),
    "a frame elsewhere": (arrays(affine=moved(8), hu_affine=moved(8)), "elsewhere than its supervoxels"),
    "a frame without volume": (arrays(affine=lambda a: a * [0, 1, 1, 1]), "no voxel-to-world"),
    "features of floats": (arrays(features_differences=lambda a: a / 63), SIZE),
    "too few channels": (arrays(features_differences=lambda a: a[..., :-1]), SIZE),
    "features without channels": (arrays(features_differences=lambda a: a[..., 0]), SIZE),
    "features of more levels": (arrays(features_differences=lambda a: a + np.uint8(1)), "features exceed 63"),
    "features outside": (arrays(first=set_to(7, 3, 4)), OUTSIDE),
    "features before the first voxel": (arrays(first=set_to(-1, 3, 4)), OUTSIDE),
    "features far away": (arrays(first=set_to(2**31 - 1, 0, 0)), OUTSIDE),
    "a place of two axes": (arrays(first=set_to(2, 3)), SIZE),
    "a place of fractions": (arrays(first=lambda a: a + 0.5), SIZE),
    "seen on another frame": (arrays(seen=lambda a: a[:, :, :-1]), "elsewhere"),
    "seen by nobody": (arrays(seen=lambda a: a * 0), "more scans than there are, or by none"),
    "seen by too many": (arrays(seen=lambda a: a + np.uint16(1)), "more scans than there are"),
    "no scans": (arrays(scans=set_to(0)), "more scans than there are"),
    "a negative number of scans": (arrays(scans=set_to(-9)), "more scans than there are"),
    "several numbers of scans": (arrays(scans=set_to(9, 9)), SIZE),
}


@pytest.mark.parametrize("edit, words", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_atlas_is_one_sentence(tmp_path, edit, words):
    path = tmp_path / "m.slicreg"
    save_model(path, make(atlas=make_atlas()))
    change(path, "atlas.npz", edit)
    with pytest.raises(UserError, match=words) as error:
        load_model(path)
    assert str(error.value).startswith(f"The model {path} is corrupt") and str(error.value).isprintable()


@pytest.mark.parametrize("name", list(pack_atlas(make_atlas())))
def test_an_array_that_is_missing(name):
    content = pack_atlas(make_atlas())
    del content[name]
    with pytest.raises(ArchiveError, match=f"it lacks {name}"):
        unpack_atlas(content)


@pytest.mark.parametrize("name", list(pack_atlas(make_atlas())))
def test_an_array_that_claims_to_be_huge_is_not_allocated(tmp_path, name):
    """Its header says 10^12 numbers, and nothing follows."""
    path = tmp_path / "m.slicreg"
    save_model(path, make(atlas=make_atlas()))
    array, header, buffer = pack_atlas(make_atlas())[name], io.BytesIO(), io.BytesIO()
    shape = (10**12 // max(1, array.shape[-1]) if array.ndim > 1 else 10**12, *array.shape[1:])
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": array.dtype.str})

    def edit(content: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
            for part in old.namelist():
                new.writestr(part, header.getvalue() if part == f"{name}.npy" else old.read(part))
        return buffer.getvalue()

    change(path, "atlas.npz", edit)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="too large"):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
