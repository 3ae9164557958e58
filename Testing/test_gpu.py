"""On a GPU: registration, verdict and training mix no devices and find what they find on the CPU.

Where there is no GPU, a pretended one refuses what a GPU refuses. Its rules are tested first, on a real one as well
where there is one.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from pretend_gpu import pretended_gpu
from ramp import ramp_study
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid, apply_affine, translation
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.network import devices
from SlicRegLib.network.devices import choose_device, peak_memory_mb
from SlicRegLib.network.options import PredictionOptions
from SlicRegLib.network.prediction import EncodedScan, describe, encode
from SlicRegLib.registration.confidence import compute_overlays
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.options import AlignmentOptions, RefinementOptions, RegistrationOptions
from SlicRegLib.registration.refinement import ComparedScan
from SlicRegLib.registration.register import register
from SlicRegLib.registration.verdict import judge
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.options import AugmentationOptions, TrainingOptions
from SlicRegLib.training.samples import TrainingSet
from tiny import NETWORK, phantom, random

CPU = torch.device("cpu")


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device


# ---- the rules -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["pretended", "real"] if torch.cuda.is_available() else ["pretended"])
def any_gpu(request):
    return torch.device("cuda") if request.param == "real" else request.getfixturevalue("gpu")


def with_gradient(weight, gradient):
    weight.requires_grad_().grad = gradient


def put(target, index, value):
    target[index] = value
    return target


REFUSED = {  # of a tensor on the CPU and one on the GPU, both of three ones
    "arithmetic": lambda here, there: here + there,
    "the other way round": lambda here, there: there * here,
    "a scalar of the GPU": lambda here, there: here + there.sum(),
    "in place": lambda here, there: here.add_(there),
    "a scalar in place": lambda here, there: here.sum().add_(there.sum()),
    "out": lambda here, there: torch.add(there, there, out=here),
    "a view": lambda here, there: there[1:] + here[1:],
    "a parameter": lambda here, there: torch.nn.Parameter(there) + here,
    "a result": lambda here, there: torch.stack([there, there]).max(0).values + here,
    "a copy": lambda here, there: copy.deepcopy(there) + here,
    "what was made alike": lambda here, there: there.new_zeros(3) + here,
    "comparison": lambda here, there: torch.equal(here, there),
    "joining": lambda here, there: torch.cat([here, there]),
    "joining scalars": lambda here, there: torch.stack([here.sum(), there.sum()]),
    "choosing": lambda here, there: torch.where(there > 0, here, 0.0),
    "a product": lambda here, there: F.linear(there[None], here[None]),
    "a product of whole numbers": lambda here, there: there.long()[None] @ here.to(there.device).long(),
    "a module": lambda here, there: torch.nn.Linear(3, 3)(there),
    "an index of the GPU": lambda here, there: here[there.long()],
    "a mask of the GPU": lambda here, there: put(here, there > 0, 0.0),
    "index_select": lambda here, there: there.index_select(0, here.long()),
    "values at an index": lambda here, there: put(there, there > 0, here),
    "rows": lambda here, there: F.embedding_bag(here.long()[None], there.view(3, 1), mode="sum"),
    "sampling": lambda here, there: F.grid_sample(
        there.view(1, 1, 1, 3), here[1:].view(1, 1, 1, 2), align_corners=False
    ),
    "a gradient": lambda here, there: with_gradient(there, here),
    "random numbers": lambda here, there: torch.rand(3, device=there.device, generator=torch.Generator()),
    "random numbers in place": lambda here, there: there.normal_(generator=torch.Generator()),
}
NO_ARRAYS = {
    "numpy": lambda there: there.numpy(),
    "of a view": lambda there: there[:2].detach().numpy(),
    "asarray": lambda there: np.asarray(there),
    "a function of numpy": lambda there: np.sqrt(there),
    "state of a generator": lambda there: torch.cuda.set_rng_state(torch.cuda.get_rng_state().to(there.device)),
}
ALLOWED = {  # and whether the result is on the GPU
    "a scalar of the CPU": (lambda here, there: there + here.sum(), True),
    "a number": (lambda here, there: torch.where(there > 0, there, 2.0), True),
    "an index of the CPU": (lambda here, there: there[here.long()], True),
    "a mask of the CPU": (lambda here, there: put(there, here > 0, 0.0), True),
    "a scalar at an index": (lambda here, there: put(there, here.long(), here.sum()), True),
    "values at a slice": (lambda here, there: put(there, slice(2), here[:2]), True),
    "values at a slice of the CPU": (lambda here, there: put(here, slice(2), there[:2]), False),
    "copying there": (lambda here, there: there.copy_(here), True),
    "copying back": (lambda here, there: here.copy_(there), False),
    "to": (lambda here, there: here.to("cuda", torch.float64), True),
    "to another": (lambda here, there: here.to(there), True),
    "back to another": (lambda here, there: there.to(here), False),
    "back to the type of another": (lambda here, there: there.type_as(here), False),
    "back by name": (lambda here, there: there.to(device="cpu", dtype=torch.long), False),
    "cuda": (lambda here, there: here.cuda(), True),
    "cpu": (lambda here, there: there.cpu(), False),
    "a shape": (lambda here, there: here[:1].expand_as(there), False),
    "zeros": (lambda here, there: torch.zeros(3, device="cuda:0"), True),
    "zeros alike": (lambda here, there: torch.zeros_like(there), True),
    "zeros alike on the CPU": (lambda here, there: torch.zeros_like(there, device="cpu"), False),
    "a list": (lambda here, there: torch.tensor([there[0], here[0], 1.0]), False),
    "a list on the GPU": (lambda here, there: torch.tensor([1.0, 2.0], device=there.device), True),
    "one of several results": (lambda here, there: there.split(2)[1], True),
    "a module": (lambda here, there: torch.nn.Linear(3, 3).to(there.device)(there), True),
    "a copied module": (lambda here, there: copy.deepcopy(torch.nn.Linear(3, 3).to(there.device))(there), True),
    "a module that was moved back": (lambda here, there: torch.nn.Linear(3, 3).to(there.device).cpu()(here), False),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_mixed_devices_are_refused(any_gpu, call):
    call(torch.ones(3), torch.ones(3))  # nothing is wrong with the call itself
    with pytest.raises(RuntimeError, match=r"device|same|indices"):
        call(torch.ones(3), torch.ones(3, device=any_gpu))


@pytest.mark.parametrize("call", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_the_memory_of_a_gpu_is_no_array(any_gpu, call):
    with pytest.raises(TypeError):
        call(torch.ones(3, device=any_gpu))


@pytest.mark.parametrize("call, on_gpu", ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed(any_gpu, call, on_gpu):
    result = call(torch.ones(3), torch.ones(3, device=any_gpu))
    assert (result.is_cuda, result.is_cpu) == (on_gpu, not on_gpu)
    assert result.device == (torch.device("cuda", 0) if on_gpu else CPU)
    assert len(result.tolist()) == len(result) and result.detach().cpu().numpy().shape == result.shape


def test_devices_share_no_memory(any_gpu):
    here = torch.ones(3)
    there = here.to(any_gpu)
    there.add_(1)
    back = there.cpu().add_(1)
    assert (here.tolist(), there.tolist(), back.tolist()) == ([1] * 3, [2] * 3, [3] * 3)
    assert there.to(any_gpu) is there


def test_gradients_are_where_their_tensors_are(any_gpu):
    layer = torch.nn.Linear(3, 1).to(any_gpu)
    layer(torch.ones(2, 3, device=any_gpu)).sum().backward()
    assert layer.weight.grad.is_cuda and layer.weight.grad.tolist() == [[2, 2, 2]]
    (gradient,) = torch.autograd.grad(layer(torch.ones(1, 3, device=any_gpu)).sum(), layer.weight)
    assert gradient.is_cuda
    layer.load_state_dict(torch.nn.Linear(3, 1).state_dict())
    assert layer.weight.is_cuda


def test_a_pretended_gpu_is_found_and_leaves_nothing_behind():
    with pretended_gpu() as device:
        assert choose_device("auto") == (device, "pretended GPU, found automatically")
        assert set(peak_memory_mb(device)) == {"process", "gpu"}
        there = torch.ones(3, device=device)
    assert torch.ones(3).is_cpu and there.is_cpu and (there + torch.ones(3)).tolist() == [2] * 3


# ---- registration ----------------------------------------------------------------------------------------------

QUICK = RegistrationOptions(
    prediction=PredictionOptions(precision="fp32"),
    alignment=AlignmentOptions(key_points=300, iterations=10, alpha=1.0, field_spacing_mm=32.0),
    refinement=RefinementOptions(coarse_iterations=3, fine_iterations=8),
    least_stretch=0.0,
)
LABELS = replace(QUICK.prediction, features="labels")
FROM_CENTRES = replace(QUICK.alignment, affine_start=False)
VARIANTS = {
    "default": QUICK,
    "not refined": replace(QUICK, refine=False),
    "as published": replace(QUICK, refine=False, prediction=LABELS, alignment=FROM_CENTRES),
    "from the centres": replace(QUICK, alignment=FROM_CENTRES),
}


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr("SlicRegLib.registration.both_ways.FINEST_MM", 8.0)  # an eighth of the points to invert


@pytest.fixture(scope="module")
def template():
    return phantom(0)[0]


@pytest.fixture(scope="module")
def target():
    return phantom(1)[0]


def compare(gpu, model, template, target, options=QUICK):
    """The registration on the GPU; it is the one on the CPU, and lies there."""
    here, there = (register(replace(model), template, target, options, device) for device in (CPU, gpu))
    for known, found in ((here.dense, there.dense), (here.backward, there.backward)):
        assert (known is None) == (found is None)
        if found:
            assert found.vectors.is_cpu
            torch.testing.assert_close(found.vectors, known.vectors, atol=1e-3, rtol=0)  # mm
    assert list(here.seconds) == list(there.seconds)
    assert there.views.moving.features.is_cpu and there.views.moving.voxels.is_cpu
    assert there.warped_target().data.shape == template.data.shape
    return there


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_registration_is_that_of_the_cpu(gpu, model, template, target, options):
    compare(gpu, model, template, target, options)


@pytest.fixture
def apple_gpu(monkeypatch):
    """A pretended GPU without double precision, as Apple's is; still under the name "cuda"."""
    monkeypatch.setattr(devices, "LACKING_FLOAT64", {"cuda"})
    with pretended_gpu(has_float64=False) as device:
        yield device


@pytest.mark.parametrize("name", ["default", "as published"])
def test_a_gpu_without_double_precision(apple_gpu, model, template, target, name):
    with pytest.raises(TypeError, match="float64"):
        torch.zeros(3, device=apple_gpu).double()
    compare(apple_gpu, model, template, target, VARIANTS[name])


def test_any_template_can_be_registered_to(gpu, model, template, target):
    """The supervoxels of both scans are predicted, and the fixed scan's voxels are compared."""
    compare(gpu, replace(model, template_sha256=""), template, target)


@pytest.mark.parametrize("shows_less", [0.0, 10.0])
def test_a_rotated_target(gpu, model, template, target, monkeypatch, shows_less):
    """It is prepared again, needs no key points, and is compared at the voxels of either scan."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 15, degrees=True).as_matrix()
    centroids = torch.cat([torch.full((2, 128, 1), 100.0), 60 * random(2, 128, 3)], -1).double()
    moved = torch.cat([centroids[..., :1], apply_affine(turn, centroids[..., 1:])], -1)
    for module, known in (("moving_side", moved), ("fixed_side", centroids)):
        monkeypatch.setattr(
            f"SlicRegLib.registration.{module}.locate", lambda net, scan, _, known=known: known.to(scan.voxels.device)
        )
    monkeypatch.setattr("SlicRegLib.registration.register.SHOWS_LESS", shows_less)
    found = compare(gpu, model, template, target)
    assert "alignment" not in found.seconds and (found.backward is None) == (shows_less > 1)
    assert found.common.found == 1


def test_key_points_of_the_model_file(gpu, model, template, target, monkeypatch):
    """In half precision, as they are stored. They count for automatic precision alone, here single precision on both
    devices."""
    monkeypatch.setattr("SlicRegLib.network.devices._computes_bf16", lambda: False)
    scan = prepare_scan(template, model.preparation)
    known = describe_key_points(describe(model.net, encode(model.net, scan)), scan.body, scan.grid)
    model = replace(model, key_points=replace(known, features=known.features.half()))
    as_stored = AlignmentOptions(iterations=2, field_spacing_mm=64.0)
    compare(gpu, model, template, target, RegistrationOptions(refine=False, alignment=as_stored))


def test_a_fixed_side_is_kept_on_the_gpu(gpu, model, template, target):
    model, options = replace(model), VARIANTS["from the centres"]
    fixed = FixedSide(model, template, options, gpu)
    first, again = (register(model, template, target, options, gpu, fixed=fixed).dense.vectors for _ in range(2))
    assert torch.equal(first, again) and fixed.key_points.features.is_cuda


def test_verdict_and_overlays_are_those_of_the_cpu(gpu, model, template, target):
    model = replace(model, template_sha256="")
    result = register(model, template, target, QUICK, gpu)
    assert judge(model, result, gpu) == judge(model, result)
    here, there = (compute_overlays(model, result, device) for device in (CPU, gpu))
    assert np.allclose(here.confidence.data, there.confidence.data, atol=1e-5)
    for name in ("template_supervoxels", "target_supervoxels"):
        assert np.array_equal(getattr(here, name).data, getattr(there, name).data)


# ---- training --------------------------------------------------------------------------------------------------

AUGMENTATION = AugmentationOptions(
    gain_noise=0.05, hu_noise=15.0, rotation=28.0, scaling=0.16, pose_share=1.0, crop_share=1.0, crop_mm=(40.0, 90.0)
)
TRAINING = TrainingOptions(
    iterations=2, batch=2, loss_voxels=200, validation_every=1, checkpoint_every=1, loaders=0, augmentation=AUGMENTATION
)


class Stop(Exception):
    """A power failure."""


def stop_after_one(stage, share, details=""):
    if details.startswith("iteration 1,"):
        raise Stop


@pytest.fixture(scope="module")
def ramp():
    """A study of five scans, of which one is held out."""
    study, _ = ramp_study(0)
    study.scans = ["a", "b", "c", "d", "e"]
    return study


@pytest.mark.parametrize("kind", ["unet", "deeplab"])
def test_a_training_is_that_of_the_cpu(gpu, ramp, tmp_path, kind):
    """Although it scales the loss for half precision, and was stopped and resumed."""
    plan = TrainingPlan(ramp, replace(NETWORK, kind=kind, layers=1), TRAINING)
    known, curve = train(plan, tmp_path / "cpu", CPU)
    with pytest.raises(Stop):
        train(plan, tmp_path / "gpu", gpu, progress=stop_after_one)
    net, found = train(plan, tmp_path / "gpu", gpu, resume=True)
    assert all(weight.is_cuda for weight in net.state_dict().values())
    for weight, other in zip(net.state_dict().values(), known.state_dict().values(), strict=True):
        torch.testing.assert_close(weight.cpu(), other, atol=1e-4, rtol=1e-3)
    assert [row[0] for row in found.rows] == [1, 2]
    assert np.allclose([row[2:] for row in found.rows], [row[2:] for row in curve.rows], rtol=1e-3)


def test_samples_are_made_on_the_gpu(gpu, ramp):
    here, there = (
        TrainingSet(ramp, ramp.scans, AUGMENTATION, 50, device=device).draw(0, 4, seed=1) for device in (CPU, gpu)
    )
    for name in ("image", "voxels", "targets"):
        assert getattr(there, name).is_cuda
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name))


def test_volumes_are_moved_along_their_axes(gpu):
    """As a sample without a rotation is; beyond the volume is air."""
    volume, grid = random(1, 6, 7, 8), Grid.centred((0, 0, 0), (6, 7, 8), 2.0)
    moved = Grid(grid.shape, translation((3.0, -5.0, 1.0)) @ grid.affine)
    here, there = (resample(volume.to(device), grid, moved, fill=-1000.0) for device in (CPU, gpu))
    assert there.is_cuda and torch.equal(there.cpu(), here) and (here == -1000).any()


# ---- faults that the pretended GPU must find -------------------------------------------------------------------

POINTS, DESCRIBE = Grid.points, ComparedScan.describe


@pytest.mark.parametrize(
    "kind, name, fault",
    [
        (Grid, "points", lambda grid, device=None: POINTS(grid)),
        (DisplacementField, "to", lambda field, device: field),
        (ComparedScan, "describe", lambda scan, options, device: DESCRIBE(scan, options, CPU)),
    ],
    ids=["points", "a field", "features"],
)
def test_a_device_that_is_forgotten_is_seen(gpu, model, template, target, monkeypatch, kind, name, fault):
    monkeypatch.setattr(kind, name, fault)
    with pytest.raises(RuntimeError, match=r"same device|indices should be"):
        register(replace(model), template, target, QUICK, gpu)


def test_a_scan_that_is_not_moved_is_seen(gpu, model, template, target, monkeypatch):
    result = register(replace(model), template, target, replace(QUICK, refine=False), gpu)
    monkeypatch.setattr(EncodedScan, "to", lambda scan, device: scan)
    with pytest.raises(RuntimeError, match="same device"):
        judge(replace(model), result, gpu)


def test_numbers_of_the_cpu_in_a_training_are_seen(gpu, ramp, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "SlicRegLib.training.samples.apply_affine", lambda matrix, points: apply_affine(matrix, points.cpu())
    )
    with pytest.raises(RuntimeError, match="same device"):
        train(TrainingPlan(ramp, replace(NETWORK, layers=1), TRAINING), tmp_path / "run", gpu)
