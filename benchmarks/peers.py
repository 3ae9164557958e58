"""This project beside other registration tools: the same scans, the same grid, the same measures.

    python -m venv peers && peers/bin/pip install -r benchmarks/requirements.txt -e .
    peers/bin/python benchmarks/peers.py --template T.nii.gz --template-label TL.nii.gz --images DIR --labels DIR \\
        --model M.slicreg --out FOLDER [--model M2.slicreg] [--tools initial,ants-syn,slicreg] [--deeds-folder DIR] \\
        [--threads 2] [--names brainstem,cord]

Peers register FOLDER/grids: template and targets in HU on the template's canonical grid (4 mm, its body and 20 mm), on the
CPU, with the defaults of each tool. Each tool and scan has a process of its own. What comes out of a tool becomes a field
template -> target in RAS mm, and all fields are measured alike: the target's labels go once from their own grid to the
template's own (one-hot, linear, arg max); Dice and HD95 of each label there, folding in per cent of the template's volume.

Seconds: of peers the registration alone, without imports, files, resampling to the grid and conversion of the field; of
"refinement alone" likewise; of this project all of `register`, from the scans as loaded, as `slicreg evaluate` counts it.
Memory: the process's peak until the field is there, or that of a program it starts if larger; it includes Python and the
libraries, for which the row "initial" stands.

FOLDER gets results.json (commit, versions, device, cases, means), after each registration, and at the end table.md and
dice_against_seconds.png. A second run goes on where the first stopped, and tries again what failed. What another version of
a tool, a model or SlicRegLib measured is measured again; another template, device or number of threads needs another folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from cohort import commit

import SlicRegLib
from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.images.files import atomic, list_images, stem
from SlicRegLib.images.itk import LPS
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import AIR_HU, PreparedScan, fit_shape, prepare, prepare_scan
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume, to_itk
from SlicRegLib.progress import silent
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold, register
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import compare
from SlicRegLib.teaching.deeds import HU_OFFSET, PROGRAMS, read_deeds
from SlicRegLib.teaching.teachers import ConvexAdamTeacher, register_affinely

clock = Stopwatch(silent)  # of this process, which registers one pair: what counts as the registration


# --- adapters: (fixed, moving, threads) -> field from fixed to moving, RAS mm; the clock runs for the tool's own work ---


def initial(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """The scans as they lie in the world."""
    return identity_field(fixed.grid)


def affine(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """SimpleITK, affine, mutual information, as set up in `supervision`; it gives a matrix in RAS."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    with clock("registration"):
        matrix = register_affinely(_prepared(fixed), _prepared(moving))
    points = fixed.grid.points()
    return DisplacementField((apply_affine(matrix, points) - points).movedim(-1, 0).contiguous(), fixed.grid)


def elastix(fixed: Volume, moving: Volume, threads: int, stages: tuple[str, ...]) -> DisplacementField:
    """elastix with its default parameter maps; transformix gives the field of all ``stages``, LPS, on the fixed grid."""
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
    method = itk.ElastixRegistrationMethod.New(*images, parameter_object=parameters, number_of_threads=threads)
    with clock("registration"):
        method.UpdateLargestPossibleRegion()
    with tempfile.TemporaryDirectory() as work:  # transformix also writes the field into a folder
        field = itk.transformix_deformation_field(
            images[1], method.GetTransformParameterObject(), output_directory=work
        )
        return from_itk(itk.array_from_image(field), fixed.grid)


def ants_syn(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """ANTs' affine and SyN with antspyx's defaults; ANTs composes both to one field, LPS, on the fixed grid."""
    os.environ |= {
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
        "ANTS_RANDOM_SEED": "1",
    }  # read when ANTs is loaded
    import ants
    import SimpleITK as sitk

    images = []
    for volume in (fixed, moving):
        like = to_itk(volume)
        positive = np.clip(
            volume.data - AIR_HU, 0, None
        )  # ANTs starts from centres of mass, where air must weigh nothing
        images.append(
            ants.from_numpy(positive, like.GetOrigin(), like.GetSpacing(), np.reshape(like.GetDirection(), (3, 3)))
        )
    with tempfile.TemporaryDirectory() as work:
        with clock("registration"):
            found = ants.registration(*images, type_of_transform="SyN", outprefix=f"{work}/")
        composed = ants.apply_transforms(*images, transformlist=found["fwdtransforms"], compose=f"{work}/")
        return from_itk(sitk.GetArrayFromImage(sitk.ReadImage(composed)), fixed.grid)


def convexadam(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """convexAdam with its defaults, through the teacher, which also turns its voxels to mm (see there what it puts right)."""
    import convexAdam.convex_adam_MIND  # noqa: F401 (before the clock starts)

    torch.set_num_threads(threads)
    with clock("registration"):
        return ConvexAdamTeacher().register(_prepared(fixed), _prepared(moving))


def deeds(
    fixed: Volume, moving: Volume, threads: int, folder: Path, arguments: tuple[str, ...] = ()
) -> DisplacementField:
    """linearBCV and deedsBCV of ``folder``; they work in voxels, which `read_deeds` turns to mm."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for role, volume in (("fixed", fixed), ("moving", moving)):
            save_volume(work / f"{role}.nii.gz", Volume(np.clip(volume.data + HU_OFFSET, 0, None), volume.grid))
        files = ["-F", work / "fixed.nii.gz", "-M", work / "moving.nii.gz", "-O", work / "result"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with clock("registration"):
            for program, more in zip(PROGRAMS, ((), ("-A", work / "result_matrix.txt", *arguments))):
                done = subprocess.run([folder.resolve() / program, *files, *more], env=environment, capture_output=True)
                if done.returncode:
                    said = done.stderr[-100:].decode(errors="replace")
                    raise RuntimeError(f"{program} ended with exit code {done.returncode}: {said}")
        return read_deeds(work / "result", fixed.grid, moving.grid)


def refinement_alone(fixed: Volume, moving: Volume, threads: int) -> DisplacementField:
    """This project's refinement from no displacement: what the network's supervoxels have to improve on."""
    torch.set_num_threads(threads)
    return refine_and_unfold([identity_field(fixed.grid.pooled(16))], _prepared(fixed), _prepared(moving), clock)


def slicreg(
    fixed: Volume, moving: Volume, threads: int, model: Path, options: RegistrationOptions
) -> DisplacementField:
    """This project with ``model``, from the scans as they were loaded."""
    torch.set_num_threads(threads)
    result = register(load_model(model), fixed, moving, options)
    clock.seconds.update(result.seconds)
    return result.dense


def from_itk(vectors: np.ndarray, grid: Grid) -> DisplacementField:
    """An ITK displacement image's array (K, J, I, 3), LPS mm, as a field on ``grid``, the same voxels in RAS."""
    ras = vectors.transpose(3, 2, 1, 0) * LPS.diagonal()[:3, None, None, None]
    return DisplacementField(torch.from_numpy(np.ascontiguousarray(ras, np.float32)), grid)


def _prepared(volume: Volume) -> PreparedScan:
    return PreparedScan("", volume.tensor[0], volume.grid)


# --- the rows ---


@dataclass(frozen=True)
class Tool:
    """A row: its title, its adapter and the version that its figures belong to (None: not installed)."""

    title: str
    register: Callable[[Volume, Volume, int], DisplacementField]
    version: str | None
    on_scans: bool = False  # registers the scans themselves instead of the grid files


HALVED = ("-G", "5x4x3x3x2", "-L", "5x4x3x3x2", "-Q", "3x2x2x1x1")  # deeds' grids for 4 mm instead of 2 mm voxels
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


def all_tools(models: list[Path], deeds_folder: Path | None) -> dict[str, Tool]:
    """Every row that can be asked for, by its key; this project's keys end in ``:MODEL``."""
    itk_elastix = installed("itk-elastix")
    ours = f"code {content_version(*sorted(Path(SlicRegLib.__file__).parent.glob('*.py')))}"
    tools = {
        "initial": Tool("initial", initial, ""),
        "affine": Tool("SimpleITK affine", affine, installed("SimpleITK")),
        "elastix-affine": Tool("elastix affine", partial(elastix, stages=("affine",)), itk_elastix),
        "elastix-bspline": Tool(
            "elastix affine + b-spline", partial(elastix, stages=("affine", "bspline")), itk_elastix
        ),
        "ants-syn": Tool("ANTs SyN", ants_syn, installed("antspyx")),
        "convexadam": Tool("convexAdam", convexadam, installed("convexAdam")),
        "refinement-alone": Tool("refinement alone, no network", refinement_alone, ours),
    }
    if deeds_folder:
        build = content_version(*(deeds_folder / program for program in PROGRAMS))
        tools["deeds"] = Tool("deeds", partial(deeds, folder=deeds_folder), build)
        tools["deeds-halved"] = Tool(
            "deeds, grids halved for 4 mm", partial(deeds, folder=deeds_folder, arguments=HALVED), build
        )
    whole = RegistrationOptions()
    unrefined = replace(whole, refinement=replace(whole.refinement, iterations=0))
    for model in models:
        build = f"{ours}, model {content_version(model)}"
        for key, end, options in (("slicreg", "", whole), ("slicreg-no-refinement", ", no refinement", unrefined)):
            adapter = partial(slicreg, model=model, options=options)
            tools[f"{key}:{model.stem}"] = Tool(f"SlicReg {model.stem}{end}", adapter, build, on_scans=True)
    return dict(sorted(tools.items(), key=lambda item: _order(item[0])))


def _order(key: str) -> int:
    return ORDER.index(key.partition(":")[0])


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def content_version(*paths: Path) -> str | None:
    """The beginning of the files' SHA-256; None where one is missing."""
    if not all(path.is_file() for path in paths):
        return None
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:10]


# --- one pair ---


@dataclass(frozen=True)
class Pair:
    """Files of a template and a target: the scans, their labels and both scans on the template's canonical grid."""

    template: Path
    template_label: Path
    target: Path
    target_label: Path
    fixed: Path
    moving: Path


def measure(tool: Tool, pair: Pair, threads: int) -> dict:
    """Register and judge one pair; called in a fresh process, so that its clock and its peak memory are the tool's."""
    files = (pair.template, pair.target) if tool.on_scans else (pair.fixed, pair.moving)
    field = tool.register(*map(load_scan, files), threads)
    cost = {"seconds": round(sum(clock.seconds.values()), 3), "peak_memory_mb": round(peak_memory_mb())}
    template, target = load_scan(pair.template), load_scan(pair.target)
    labels = load_labels(pair.template_label, template), load_labels(pair.target_label, target)
    return compare(Registration(template, target, field, {}, False), *labels)["after"] | cost


def peak_memory_mb() -> float:
    """This process's peak so far, or its largest child's. (ru_maxrss of a process starts at its parent's; VmHWM does not.)"""
    own = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def in_own_process(function: Callable, *arguments):
    """function(*arguments) in a process started for it; a crash there is an exception here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- all pairs ---


def write_grids(folder: Path, template: Path, template_label: Path, images: Path, labels: Path) -> dict[str, Pair]:
    """The pairs by name; writes what is not yet in ``folder``."""
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    scan, options = load_scan(template), PreparationOptions()
    fixed = prepare_scan(scan, replace(options, shape=fit_shape(scan, options)))
    if not (folder / "template.nii.gz").exists():
        save_volume(folder / "template.nii.gz", Volume(fixed.hu.numpy(), fixed.grid))
    label_of, pairs = {stem(path): path for path in list_images(labels)}, {}
    for path in list_images(images):
        name = stem(path)
        if name not in label_of:
            continue
        moving = folder / "targets" / f"{name}.nii.gz"
        if not moving.exists():
            save_volume(moving, Volume(prepare(load_scan(path), fixed.grid).numpy(), fixed.grid))
        pairs[name] = Pair(template, template_label, path, label_of[name], folder / "template.nii.gz", moving)
    return pairs


def run(
    tools: dict[str, Tool], pairs: dict[str, Pair], threads: int, results: dict, save: Callable[[dict], None]
) -> None:
    """Fill ``results["rows"]`` with what is not there yet, saved case by case.

    Scan by scan, so that the rows of an interrupted run have the same scans.
    """
    rows = results.setdefault("rows", {})
    for key, tool in tools.items():
        if key not in rows or rows[key]["version"] != tool.version:
            rows[key] = {"title": tool.title, "version": tool.version, "cases": {}}
        cases = rows[key]["cases"]
        rows[key] |= {"failed": {}, "of": len(cases.keys() | pairs.keys()), "mean": means(cases)}
    for name, pair in pairs.items():
        for key, tool in tools.items():
            row = rows[key]
            if name not in row["cases"]:
                try:
                    if tool.version is None:
                        raise ModuleNotFoundError("not installed")
                    row["cases"][name] = case = in_own_process(measure, tool, pair, threads)
                    print(f"{name:12s} {tool.title}: Dice {case['mean_dice']:.3f}, {case['seconds']:.1f} s", flush=True)
                except Exception as error:  # a tool's failure, of whatever kind, is a result
                    row["failed"][name] = " ".join(str(error).split())[:200] or type(error).__name__
                    print(f"{name:12s} {tool.title}: {row['failed'][name]}", flush=True)
            row["mean"] = means(row["cases"])
            save(results)


def means(cases: dict[str, dict]) -> dict:
    """The mean of every figure over the cases that have it."""

    def mean(*keys):
        found = [case[keys[0]] if len(keys) == 1 else case[keys[0]].get(keys[1]) for case in cases.values()]
        values = [value for value in found if value is not None]
        return float(np.mean(values)) if values else None

    labels = sorted({label for case in cases.values() for label in case["dice"]}, key=int)
    return {key: mean(key) for key in ("mean_dice", "mean_hd95_mm", "folding_percent", "seconds", "peak_memory_mb")} | {
        key: {label: mean(key, label) for label in labels} for key in ("dice", "hd95_mm")
    }


# --- what is shown ---


def table(results: dict, names: list[str]) -> str:
    """The rows as Markdown; ``names`` of the labels in the order of their values, else their values."""
    labels = sorted({label for row in results["rows"].values() for label in row["mean"]["dice"]}, key=int)
    columns = [
        "tool",
        "mean Dice",
        *(names if len(names) == len(labels) else [f"label {v}" for v in labels]),
        "HD95 mm",
        "folding %",
        "s / pair",
        "peak MB",
    ]
    lines = [columns, ["---"] * len(columns)]
    for row in results["rows"].values():
        mean, title = row["mean"], row["title"]
        if row["failed"]:
            title += f" ({len(row['cases'])} of {row['of']} scans: {next(iter(row['failed'].values()))})"
        figures = [
            (mean["mean_dice"], ".3f"),
            *((mean["dice"].get(v), ".3f") for v in labels),
            (mean["mean_hd95_mm"], ".1f"),
            (mean["folding_percent"], ".2f"),
            (mean["seconds"] or None, ".1f"),
            (mean["peak_memory_mb"], ".0f"),
        ]
        lines.append(
            [title.replace("|", "/"), *("-" if value is None else format(value, form) for value, form in figures)]
        )
    versions = "; ".join(f"{row['title']} {row['version']}" for row in results["rows"].values() if row["version"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nMeans; scans: {max(row['of'] for row in results['rows'].values())}; threads: {results['setup']['threads']}; "
        f"{results['setup']['device']}; commit {results['commit']}. {versions}.\n"
    )


def draw(path: Path, results: dict) -> None:
    """Dice against seconds; each point has its name beside it, and the Dice without registration is a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = {key: row for key, row in results["rows"].items() if row["cases"]}
    figure, axes = plt.subplots(figsize=(8, 5))
    figure.subplots_adjust(0.09, 0.11, 0.98, 0.97)
    axes.set(
        xscale="log",
        xlabel=f"seconds per registration (CPU threads: {results['setup']['threads']})",
        ylabel="mean Dice",
    )
    axes.margins(0.15, 0.1)
    axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if "initial" in rows:
        start = rows.pop("initial")["mean"]["mean_dice"]
        axes.axhline(start, color="0.6", lw=1, ls="--")
        axes.annotate(
            "no registration",
            (0, start),
            (4, 3),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            color="0.4",
            size=9,
        )
    points = {key: (row["mean"]["seconds"], row["mean"]["mean_dice"]) for key, row in rows.items()}
    ours = {"slicreg": "tab:red", "slicreg-no-refinement": "tab:red", "refinement-alone": "tab:orange"}
    colours = {key: ours.get(key.partition(":")[0], "0.35") for key in rows}
    for key, point in points.items():
        axes.plot(*point, "o", ms=7, color=colours[key])
    figure.canvas.draw()
    taken = [matplotlib.transforms.Bbox(axes.transData.transform(point) + [[-8], [8]]) for point in points.values()]
    places = [(x, y, side) for y in (0, 12, -12, 22, -22) for x, side in ((9, "left"), (-9, "right"), (0, "center"))]
    for key, point in points.items():
        label = axes.annotate(rows[key]["title"], point, (0, 0), textcoords="offset points", va="center", size=9)
        label.set_color(colours[key])

        def clashes(place) -> int:
            *label.xyann, side = place
            label.set_ha(side)
            box = label.get_window_extent()
            return sum(map(box.overlaps, taken)) + (box.x0 < axes.bbox.x0) + (box.x1 > figure.bbox.x1)

        clashes(min(places, key=clashes))  # the first of the places with the fewest
        taken.append(label.get_window_extent())
    with atomic(path) as part:
        figure.savefig(part, dpi=130, format="png")
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("template", "template-label", "images", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="a model of this project; can be repeated"
    )
    parser.add_argument("--tools", type=lambda text: text.split(","), help=f"some of {', '.join(ORDER)}; default: all")
    parser.add_argument("--deeds-folder", type=Path, help=f"holds {' and '.join(PROGRAMS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--names", type=lambda text: text.split(","), default=[], help="of the labels, for the table")
    options = parser.parse_args()
    if len({model.stem for model in options.model}) < len(options.model):
        parser.error("two models have the same file name; it names their rows")
    tools = all_tools(options.model, options.deeds_folder)
    if options.tools:
        tools = {key: tool for key, tool in tools.items() if key.partition(":")[0] in options.tools}
        if missing := set(options.tools) - {key.partition(":")[0] for key in tools}:
            parser.error(
                f"{', '.join(sorted(missing))}: unknown, or without the --model or --deeds-folder that it needs"
            )
    results_path = options.out / "results.json"
    results = json.loads(results_path.read_text()) if results_path.exists() else {}
    template = load_scan(options.template)
    setup = {
        "template": template.fingerprint(),
        "template_label": load_labels(options.template_label, template).fingerprint(),
        "threads": options.threads,
        "device": processor(),
    }
    if results and results["setup"] != setup:
        parser.error(f"{options.out} was made with another template, device or number of threads; choose another --out")
    results |= {
        "setup": setup,
        "commit": commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    torch.set_num_threads(options.threads)
    pairs = write_grids(options.out / "grids", options.template, options.template_label, options.images, options.labels)
    if not pairs:
        parser.error(f"no file of {options.labels} has the name of a scan in {options.images}")

    def save(results: dict):
        results["rows"] = dict(sorted(results["rows"].items(), key=lambda item: _order(item[0])))
        with atomic(results_path) as part:
            part.write_text(json.dumps(results, indent=1))

    run(tools, pairs, options.threads, results, save)
    with atomic(options.out / "table.md") as part:
        part.write_text(table(results, options.names))
    draw(options.out / "dice_against_seconds.png", results)
    print(f"\n{table(results, options.names)}")


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
