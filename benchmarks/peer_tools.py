"""The tools that ``peers.py`` compares: adapters with one signature, and the version that figures belong to.

An adapter takes (fixed, moving, threads) and returns the field from fixed to moving in RAS mm. `clock` runs only for
the tool's own work, without imports, files and the conversion of the field.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

import SlicRegLib
from SlicRegLib.geometry.field import DisplacementField, affine_field, identity_field
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.itk import LPS, flip_matrix, flip_vectors
from SlicRegLib.images.preparation import AIR_HU, PreparedScan
from SlicRegLib.images.volumes import Volume, save_volume, to_itk
from SlicRegLib.progress import silent
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold, register
from SlicRegLib.teaching.deeds import HU_OFFSET, PROGRAMS, read_deeds
from SlicRegLib.teaching.teachers import ConvexAdamTeacher

clock = Stopwatch(silent)
"""Of this process, which registers one pair."""


# --- adapters ---


def stay(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """The scans as they lie in the world."""
    return identity_field(fixed.grid)


def simpleitk_affine(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """SimpleITK: affine, mutual information, from the frames laid on each other."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    with clock("registration"):
        matrix = register_by_mutual_information(fixed, moving)
    return affine_field(matrix, fixed.grid)


def register_by_mutual_information(scan: Volume, template: Volume) -> np.ndarray:
    """4x4 world (RAS) matrix from the scan's points to the template's."""
    import SimpleITK as sitk

    fixed, moving = to_itk(scan), to_itk(template)
    start = sitk.AffineTransform(3)
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    start.SetTranslation(flip_vectors(template.grid.centre - scan.grid.centre).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescentLineSearch(learningRate=1.0, numberOfIterations=100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(sitk.Clamp(fixed, sitk.sitkFloat32, -500, 500), sitk.Clamp(moving, sitk.sitkFloat32, -500, 500))
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(start.GetMatrix()).reshape(3, 3)
    centre = np.asarray(start.GetCenter())
    matrix[:3, 3] = np.asarray(start.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return flip_matrix(matrix)


def elastix(fixed: Volume, moving: Volume, threads: int, stages: tuple[str, ...]) -> DisplacementField:
    """elastix with its default parameter maps; transformix gives the field of all ``stages`` on the fixed grid."""
    import itk

    images = []
    for volume in (fixed, moving):
        image, like = itk.image_from_array(np.ascontiguousarray(volume.data.T)), to_itk(volume)
        image.SetOrigin(like.GetOrigin())
        image.SetSpacing(like.GetSpacing())
        image.SetDirection(np.reshape(like.GetDirection(), (3, 3)))
        images.append(image)
    parameters = itk.ParameterObject.New()
    for stage in stages:
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(stage))
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)  # its own number_of_threads crashes the b-spline
    method = itk.ElastixRegistrationMethod.New(*images, parameter_object=parameters)
    with clock("registration"):
        method.UpdateLargestPossibleRegion()
    with tempfile.TemporaryDirectory() as work:  # transformix also writes the field into a folder
        parameters = method.GetTransformParameterObject()
        field = itk.transformix_deformation_field(images[1], parameters, output_directory=work)
        return field_from_itk(itk.array_from_image(field), fixed.grid)


def ants_syn(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """ANTs' affine and SyN with antspyx's defaults; ANTs composes both to one field, LPS, on the fixed grid."""
    # read when ANTs is loaded
    os.environ |= {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads), "ANTS_RANDOM_SEED": "1"}
    import ants
    import SimpleITK as sitk

    images = []
    for volume in (fixed, moving):
        like = to_itk(volume)
        positive = np.clip(volume.data - AIR_HU, 0, None)  # ANTs starts from centres of mass: air must weigh nothing
        direction = np.reshape(like.GetDirection(), (3, 3))
        images.append(ants.from_numpy(positive, like.GetOrigin(), like.GetSpacing(), direction))
    with tempfile.TemporaryDirectory() as work:
        with clock("registration"):
            result = ants.registration(*images, type_of_transform="SyN", outprefix=f"{work}/")
        composed = ants.apply_transforms(*images, transformlist=result["fwdtransforms"], compose=f"{work}/")
        return field_from_itk(sitk.GetArrayFromImage(sitk.ReadImage(composed)), fixed.grid)


def convexadam(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """convexAdam with its defaults, through `ConvexAdamTeacher`, which also corrects the scale of its displacements."""
    import convexAdam.convex_adam_MIND  # noqa: F401 (before the clock starts)

    torch.set_num_threads(threads)
    with clock("registration"):
        return ConvexAdamTeacher().register(_as_prepared(fixed), _as_prepared(moving))


def deeds(
    fixed: Volume, moving: Volume, threads: int, folder: Path, arguments: tuple[str, ...] = ()
) -> DisplacementField:
    """linearBCV and deedsBCV of ``folder``; they work in voxels, which `read_deeds` turns into mm."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for role, volume in (("fixed", fixed), ("moving", moving)):
            save_volume(work / f"{role}.nii.gz", Volume(np.clip(volume.data + HU_OFFSET, 0, None), volume.grid))
        files = ["-F", work / "fixed.nii.gz", "-M", work / "moving.nii.gz", "-O", work / "result"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with clock("registration"):
            for program, more in zip(PROGRAMS, ((), ("-A", work / "result_matrix.txt", *arguments)), strict=True):
                done = subprocess.run([folder.resolve() / program, *files, *more], env=environment, capture_output=True)
                if done.returncode:
                    message = done.stderr[-100:].decode(errors="replace")
                    raise RuntimeError(f"{program} ended with exit code {done.returncode}: {message}")
        return read_deeds(work / "result", fixed.grid, moving.grid)


def refinement_alone(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """This project's refinement, started from no displacement: what the network's supervoxels have to improve on."""
    torch.set_num_threads(threads)
    starts = [identity_field(fixed.grid.pooled(16))]
    return refine_and_unfold(starts, _as_prepared(fixed), _as_prepared(moving), clock)[0]


def slicreg(
    fixed: Volume, moving: Volume, threads: int, model: Path, options: RegistrationOptions
) -> DisplacementField:
    """This project with ``model``, from the scans as they were loaded."""
    torch.set_num_threads(threads)
    result = register(load_model(model), fixed, moving, options)
    clock.seconds.update(result.seconds)
    return result.dense


def field_from_itk(vectors: np.ndarray, grid: Grid) -> DisplacementField:
    """An ITK displacement image's array (K, J, I, 3), LPS mm, as a field on ``grid``, the same voxels in RAS."""
    ras = vectors.transpose(3, 2, 1, 0) * LPS.diagonal()[:3, None, None, None]
    return DisplacementField(torch.from_numpy(np.ascontiguousarray(ras, np.float32)), grid)


def _as_prepared(volume: Volume) -> PreparedScan:
    return PreparedScan("", volume.tensor[0], volume.grid)


# --- the tools ---


@dataclass(frozen=True)
class Tool:
    """A row of the table."""

    title: str
    register: Callable[[Volume, Volume, int], DisplacementField]
    version: str | None
    """What its figures belong to; None: not installed."""
    on_scans: bool = False
    """Whether it registers the scans themselves instead of the files on the common grid."""


HALVED = ("-G", "5x4x3x3x2", "-L", "5x4x3x3x2", "-Q", "3x2x2x1x1")
"""deeds' grids for voxels of 4 mm instead of 2 mm."""
ORDER = (
    "initial",
    "affine",
    "elastix-affine",
    "elastix-bspline",
    "ants-syn",
    "deeds",
    "deeds-halved",
    "convexadam",
    "refinement-alone",
    "slicreg-no-refinement",
    "slicreg",
)


def list_tools(models: list[Path], deeds_folder: Path | None) -> dict[str, Tool]:
    """Every row that can be chosen, by its key, in `ORDER`; this project's keys end in ``:MODEL``."""
    itk_elastix = find_version("itk-elastix")
    ours = f"code {hash_files(*sorted(Path(SlicRegLib.__file__).parent.rglob('*.py')))}"
    tools = {
        "initial": Tool("initial", stay, ""),
        "affine": Tool("SimpleITK affine", simpleitk_affine, find_version("SimpleITK")),
        "elastix-affine": Tool("elastix affine", partial(elastix, stages=("affine",)), itk_elastix),
        "elastix-bspline": Tool(
            "elastix affine + b-spline", partial(elastix, stages=("affine", "bspline")), itk_elastix
        ),
        "ants-syn": Tool("ANTs SyN", ants_syn, find_version("antspyx")),
        "convexadam": Tool("convexAdam", convexadam, find_version("convexAdam")),
        "refinement-alone": Tool("refinement alone, no network", refinement_alone, ours),
    }
    if deeds_folder:
        build = hash_files(*(deeds_folder / program for program in PROGRAMS))
        tools["deeds"] = Tool("deeds", partial(deeds, folder=deeds_folder), build)
        tools["deeds-halved"] = Tool(
            "deeds, grids halved for 4 mm", partial(deeds, folder=deeds_folder, arguments=HALVED), build
        )
    default = RegistrationOptions()
    unrefined = replace(default, refine=False)
    for model in models:
        build = f"{ours}, model {hash_files(model)}"
        for key, end, options in (("slicreg", "", default), ("slicreg-no-refinement", ", no refinement", unrefined)):
            adapter = partial(slicreg, model=model, options=options)
            tools[f"{key}:{model.stem}"] = Tool(f"SlicReg {model.stem}{end}", adapter, build, on_scans=True)
    return dict(sorted(tools.items(), key=lambda item: order_of(item[0])))


def order_of(key: str) -> int:
    """The place of a row in the table."""
    return ORDER.index(key.partition(":")[0])


def find_version(package: str) -> str | None:
    """The installed version of a package; None: not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def hash_files(*paths: Path) -> str | None:
    """The beginning of the files' SHA-256; None where one is missing."""
    if not all(path.is_file() for path in paths):
        return None
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:10]
