"""``slicreg``: argument parsing and nothing else."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path

from .errors import UserError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="slicreg",
        description="Learned registration of 3-D CT scans by supervoxels (Slic-Reg).",
        epilog="Results go to files, progress to stderr. Exit code 2: a mistake in what was given.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    prepare = _command(
        commands, "prepare", "register a template to a cohort with a teacher, and cut it into supervoxels"
    )
    prepare.add_argument("--template", type=Path, required=True, help="template scan (NIfTI, NRRD or MHA; CT in HU)")
    prepare.add_argument("--images", type=Path, required=True, help="folder of training scans; no labels are used")
    prepare.add_argument(
        "--out", type=Path, required=True, help="study folder; an interrupted run goes on where it stopped"
    )
    prepare.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="MODEL",
        help="take frame and supervoxels from this model of the same template, for `train --from` it",
    )
    _teacher(prepare)

    train = _command(commands, "train", "train a network on a study")
    train.add_argument("--study", type=Path, required=True, help="folder that `slicreg prepare` made")
    train.add_argument(
        "--out",
        type=Path,
        required=True,
        help="model file to write (.slicreg); checkpoint and learning curve stand beside it",
    )
    _schedule(train)
    train.add_argument(
        "--learning-rate", type=float, help="of Adam at the start (default: 0.004 for paper, else 0.002)"
    )
    train.add_argument("--seed", type=int, default=0, help="of weights and samples (default: %(default)s)")
    train.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="MODEL",
        help="begin with this model's weights; its template and supervoxels must be the study's",
    )
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint of the same run")
    train.add_argument("--cohort", default="", help="a line about the training scans, kept in the model")
    train.add_argument(
        "--include-template",
        type=Path,
        metavar="T",
        help="put this template scan into the model (only data that may be shared)",
    )
    train.add_argument(
        "--include-labels",
        type=Path,
        metavar="L",
        help="put the template's labels into the model, with --include-template",
    )
    _device(train)

    learn = _command(
        commands, "learn", "all of it in one folder: check, prepare, train, report; goes on after any interruption"
    )
    learn.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="job folder; alone: go on with what stands there"
    )
    learn.add_argument("--name", help="of the model, written to FOLDER/NAME.slicreg")
    learn.add_argument(
        "--quiet", action="store_true", help="no progress on stderr: it stands in FOLDER/state.json and job.log"
    )
    _cohort(learn, required=False)
    _schedule(learn)
    learn.add_argument(
        "--learning-rate", type=float, help="of Adam at the start (default: 0.004 for paper, else 0.002)"
    )
    learn.add_argument("--seed", type=int, default=0, help="of weights and samples (default: %(default)s)")
    learn.add_argument("--from", dest="start", type=Path, metavar="MODEL", help="begin with this model's weights")
    learn.add_argument("--cohort", default="", help="a line about the training scans, kept in the model")
    learn.add_argument(
        "--labels", type=Path, metavar="DIR", help="labels of some scans, measured in the report; never trained on"
    )
    learn.add_argument("--template-label", type=Path, metavar="TL", help="the template's labels, with --labels")
    learn.add_argument("--models", type=Path, metavar="DIR", help="also copy the finished model here")
    _teacher(learn)
    _device(learn)

    check = _command(commands, "check", "look at a cohort before training: what is unusual, and what it will cost")
    _cohort(check, required=True)
    _schedule(check)
    check.add_argument("--out", type=Path, metavar="FOLDER", help="write cohort.json and a picture of what is unusual")
    check.add_argument(
        "--spacing",
        type=float,
        default=4.0,
        metavar="MM",
        help="voxel edge of the canonical frame in mm (default: %(default)s)",
    )
    check.add_argument(
        "--shape", type=int, nargs=3, metavar=("R", "A", "S"), help="voxels of the canonical frame (default: fitted)"
    )
    check.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core, here %(default)s)"
    )
    _device(check)

    job = _command(commands, "job", "look at a training that runs in a folder, hold it, or end it")
    job.add_argument("action", choices=("status", "pause", "resume", "stop"))
    job.add_argument("folder", type=Path, metavar="FOLDER", help="of `slicreg learn`")

    register = _command(commands, "register", "register one scan to a template")
    register.add_argument("--model", type=Path, required=True, help="model file (.slicreg)")
    register.add_argument(
        "--template", type=Path, required=True, help="fixed scan; the model's own template or any other scan"
    )
    register.add_argument("--target", type=Path, required=True, metavar="CT", help="moving scan")
    register.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for transforms, images, report and picture"
    )
    register.add_argument(
        "--template-label", type=Path, metavar="L", help="template's labels, to be carried to the target"
    )
    register.add_argument(
        "--target-label", type=Path, metavar="L", help="target's labels, to measure Dice and HD95 (mm)"
    )
    register.add_argument(
        "--overlays", action="store_true", help="also write the confidence and both scans' predicted supervoxels"
    )
    _device(register)
    _alignment(register)

    evaluate = _command(commands, "evaluate", "register a labelled cohort and measure Dice, HD95, folding and seconds")
    evaluate.add_argument("--model", type=Path, required=True, help="model file (.slicreg)")
    evaluate.add_argument("--template", type=Path, required=True, help="template scan")
    evaluate.add_argument("--template-label", type=Path, required=True, metavar="TL", help="template's labels")
    evaluate.add_argument("--images", type=Path, required=True, help="folder of scans")
    evaluate.add_argument("--labels", type=Path, required=True, help="folder of labels with the scans' names")
    evaluate.add_argument("--out", type=Path, required=True, metavar="JSON", help="results file")
    _device(evaluate)
    _alignment(evaluate)

    info = _command(commands, "info", "show what a model holds and where it comes from")
    info.add_argument("model", type=Path, metavar="MODEL", help="model file (.slicreg)")

    demo = _command(commands, "demo", "register synthetic trunks with the bundled model and measure the result")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: %(default)s)")
    demo.add_argument(
        "--train",
        action="store_true",
        help="run the whole method: phantoms, teacher, supervoxels, training, registration",
    )
    demo.add_argument("--iterations", type=int, default=800, help="training steps, with --train (default: %(default)s)")
    demo.add_argument(
        "--scans", type=int, default=30, help="size of the cohort, with --train, at most 30 (default: %(default)s)"
    )
    demo.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="processes of the teacher, with --train (default: %(default)s)",
    )
    _device(demo)
    return top


def _command(commands, name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.add_argument("--json", action="store_true", help="one JSON line per progress step on stdout")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _device(command) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")


def _cohort(command, required: bool) -> None:
    command.add_argument(
        "--template", type=Path, required=required, help="template scan (NIfTI, NRRD or MHA; CT in HU)"
    )
    command.add_argument(
        "--images", type=Path, required=required, help="folder of training scans, or a CSV file with their paths"
    )


def _schedule(command) -> None:
    command.add_argument(
        "--preset",
        choices=("paper", "unet", "compact"),
        default="compact",
        help="paper: 3-D DeepLab as published; unet: larger 3-D UNet; compact: trains on a CPU (default: %(default)s)",
    )
    command.add_argument("--iterations", type=int, help="training steps (default: 3000 for paper, else 1500)")
    command.add_argument("--batch", type=int, help="scans per step (default: 4 for paper, else 2)")


def _teacher(command) -> None:
    command.add_argument(
        "--teacher", choices=("convexadam", "deeds"), default="convexadam", help="default: %(default)s"
    )
    command.add_argument(
        "--affine-first", action="store_true", help="start convexAdam from a SimpleITK affine registration"
    )
    command.add_argument(
        "--deeds-dir",
        type=Path,
        help="folder with linearBCV and deedsBCV, or with NAME_matrix.txt and NAME_displacements.dat of every scan",
    )
    command.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core, here %(default)s)"
    )
    command.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="a Dask cluster that runs the teacher, such as tcp://host:8786",
    )
    command.add_argument(
        "--spacing",
        type=float,
        default=4.0,
        metavar="MM",
        help="voxel edge of the canonical frame in mm (default: %(default)s)",
    )
    command.add_argument(
        "--shape",
        type=int,
        nargs=3,
        metavar=("R", "A", "S"),
        help="voxels of the canonical frame, best multiples of 16 (default: fitted to the template's body; published: 96 80 128)",
    )


def _alignment(command) -> None:
    command.add_argument(
        "--features",
        choices=("probabilities", "labels"),
        default="probabilities",
        help="probabilities: predicted on both scans; labels: the published hard assignment (default: %(default)s)",
    )
    command.add_argument(
        "--no-refine", action="store_true", help="leave out the refinement on image features: the published method"
    )
    command.add_argument("--iterations", type=int, default=None, help="steps of Adam (default: 50; published: 100)")
    command.add_argument("--alpha", type=float, default=None, help="weight of the regularisation (default: 0.015)")
    command.add_argument(
        "--neighbours", type=int, default=None, help="of each key point in the regularisation (default: 8)"
    )
    command.add_argument(
        "--key-points", type=int, default=None, help="points whose displacements are optimised (default: 2048)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the key points (default: %(default)s)")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after a user's mistake."""
    options = parser().parse_args(arguments)
    from .progress import Bars, JsonLines, Quiet

    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts: the others are silent
    progress = Quiet() if not first or getattr(options, "quiet", False) else JsonLines() if options.json else Bars()
    try:
        with _interrupted_once():
            text = _COMMANDS[options.command](options, progress)
    except (UserError, OSError) as error:
        if options.debug:
            raise
        progress.close()
        print(f"slicreg: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.close()
        print("slicreg: interrupted; repeat the command (train: with --resume) to go on.", file=sys.stderr)
        return 130
    progress.close()
    if first:
        print(text, file=sys.stderr if options.json and options.command not in ("info", "job") else sys.stdout)
    return 0


_CLEAN_UP_SECONDS = 5.0


@contextlib.contextmanager
def _interrupted_once():
    """Ctrl+C or SIGTERM, whichever comes first, is a KeyboardInterrupt; what follows soon does not cut the clean-up short."""
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()

    last = -float("inf")

    def interrupt(*_):
        nonlocal last
        if time.monotonic() - last >= _CLEAN_UP_SECONDS:
            last = time.monotonic()
            raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler or signal.SIG_DFL)  # None: it was not set from Python


_OTHER_TEMPLATE = (
    "Warning: the template is not the one this model was trained with; its supervoxels were predicted as well."
)


def _prepare(options, progress) -> str:
    from .commands import run_prepare
    from .preparation import PreparationOptions

    shape = tuple(options.shape) if options.shape else None
    study = run_prepare(
        options.template,
        options.images,
        options.out,
        options.teacher,
        options.deeds_dir,
        options.affine_first,
        max(1, options.jobs),
        PreparationOptions(spacing_mm=options.spacing, shape=shape),
        progress,
        options.scheduler,
        options.start,
    )
    problems = "".join(f"\n  left out: {reason}" for reason in study.failed.values())
    return f"{len(study.scans)} scans prepared in {options.out}.{problems}\nNext: slicreg train --study {options.out} --out model.slicreg"


def _train(options, progress) -> str:
    from .commands import run_train
    from .training import training_preset

    given = {
        k: v
        for k, v in (
            ("iterations", options.iterations),
            ("batch", options.batch),
            ("seed", options.seed),
            ("learning_rate", options.learning_rate),
        )
        if v is not None
    }
    history = run_train(
        options.study,
        options.out,
        options.preset,
        training_preset(options.preset, **given),
        options.device,
        options.resume,
        options.cohort,
        progress,
        options.include_template,
        options.include_labels,
        options.start,
    )
    _, seconds, _, loss, accuracy = history.rows[-1]
    return f"{options.out} written after {seconds:.0f} s; validation loss {loss:.3f}, accuracy {accuracy:.1%} of 128 classes."


def _learn(options, progress) -> str:
    from . import jobfolder

    folder = options.out.absolute()
    wanted = _job_options(options, folder)
    with jobfolder.claimed(folder):  # before the long imports: who comes second is told so at once
        jobfolder.write_config(folder, wanted)
        jobfolder.forget_interrupted_writing(folder)
        if jobfolder.last_state(folder).state == "finished":
            return f"{folder} is finished: the model {wanted.name} and report.html stand there."
        recorder = jobfolder.Recorder(folder, jobfolder.STAGES, progress)
        try:
            from .learning import learn

            model = learn(folder, wanted, recorder)
        except (UserError, OSError) as error:
            recorder.end("failed", _sentence(error))
            raise
        except KeyboardInterrupt:
            recorder.end("stopped")
            raise
        except BaseException as error:
            recorder.log(traceback.format_exc())
            recorder.end("failed", f"An unexpected {type(error).__name__}; {folder / 'job.log'} says where.")
            raise
        recorder.end("finished")
    return f"{model} written; look at {folder / 'report.html'}."


def _job_options(options, folder: Path):
    """What was given, or what stands in the folder where only that was given."""
    from .jobfolder import JobOptions, read_config

    required = {"--template": options.template, "--images": options.images, "--name": options.name}
    if not any(required.values()):
        return JobOptions(**{key: value for key, value in read_config(folder).items() if key != "version"})
    if absent := [name for name, value in required.items() if not value]:
        raise UserError(f"A new training also needs {', '.join(absent)}.")
    paths = {
        name: str(path.absolute()) if (path := getattr(options, name)) else ""
        for name in ("template", "images", "deeds_dir", "start", "labels", "template_label", "models")
    }
    return JobOptions(
        name=options.name,
        preset=options.preset,
        iterations=options.iterations,
        batch=options.batch,
        learning_rate=options.learning_rate,
        seed=options.seed,
        device=options.device,
        workers=max(1, options.jobs),
        teacher=options.teacher,
        affine_first=options.affine_first,
        scheduler=options.scheduler,
        spacing_mm=options.spacing,
        shape=tuple(options.shape) if options.shape else None,
        cohort=options.cohort,
        **paths,
    )


def _check(options, progress) -> str:
    from .commands import run_check
    from .preparation import PreparationOptions
    from .training import training_preset

    given = {k: v for k, v in (("iterations", options.iterations), ("batch", options.batch)) if v is not None}
    shape = tuple(options.shape) if options.shape else None
    return run_check(
        options.template,
        options.images,
        options.preset,
        training_preset(options.preset, **given),
        options.device,
        max(1, options.jobs),
        PreparationOptions(spacing_mm=options.spacing, shape=shape),
        options.out,
        progress,
    )


def _job(options, progress) -> str:
    from . import jobfolder

    if options.action != "status":
        getattr(jobfolder, options.action)(options.folder)
    state = jobfolder.read_state(options.folder)
    if options.json:
        return json.dumps(asdict(state))
    owner = jobfolder.owner_of(options.folder)
    lines = [
        f"{state.state}{f' ({owner.sentence()})' if owner else ''}: {state.stage} {state.share:.0%} {state.message}".rstrip(
            ": "
        ),
        f"{state.fraction:.0%} of all"
        + ("" if state.remaining is None else f", about {state.remaining / 60:.0f} min left"),
    ]
    return "\n".join([*lines, state.error] if state.error else lines)


def _register(options, progress) -> str:
    from .commands import run_register

    report = run_register(
        options.model,
        options.template,
        options.target,
        options.out,
        options.template_label,
        options.target_label,
        options.device,
        _registration_options(options),
        progress,
        options.overlays,
    )
    lines = [
        f"Registered in {report['seconds']['total']:.1f} s on {report['device_reason']}; folding {report['folding_percent']:.2f} %."
    ]
    if not report["own_template"]:
        lines.append(_OTHER_TEMPLATE)
    if "after" in report:
        lines.append(f"Mean Dice {report['before']['mean_dice']:.3f} before, {report['after']['mean_dice']:.3f} after.")
        lines += [f"Labels missing on one side, left out: {report['left_out']}"] if report["left_out"] else []
    return "\n".join([*lines, f"Results in {options.out}; look at {options.out / 'overview.png'}"])


def _evaluate(options, progress) -> str:
    from .commands import run_evaluate

    results = run_evaluate(
        options.model,
        options.template,
        options.template_label,
        options.images,
        options.labels,
        options.out,
        options.device,
        _registration_options(options),
        progress,
    )
    mean = results["mean"]
    problems = "".join(f"\n  failed: {reason}" for reason in results["failed"].values())
    left_out = "".join(
        f"\n  {name}: labels missing on one side, left out: {case['left_out']}"
        for name, case in results["cases"].items()
        if case["left_out"]
    )
    warning = "" if results["own_template"] else _OTHER_TEMPLATE + "\n"
    return (
        f"{warning}{mean['cases']} cases: mean Dice {mean['before_dice']:.3f} before, {mean['after_dice']:.3f} after; "
        f"HD95 {_mm(mean['before_hd95_mm'])} before, {_mm(mean['after_hd95_mm'])} after; folding "
        f"{mean['folding_percent']:.3f} %; {mean['seconds']:.1f} s each.{left_out}{problems}"
    )


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} cannot be read or written ({error.strerror or error})."
    return str(error)


def _mm(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f} mm"


def _registration_options(options):
    from .alignment import AlignmentOptions
    from .prediction import PredictionOptions
    from .refinement import RefinementOptions
    from .registration import RegistrationOptions

    changes = {
        "iterations": options.iterations,
        "key_points": options.key_points,
        "seed": options.seed,
        "alpha": options.alpha,
        "neighbours": options.neighbours,
    }
    alignment = replace(AlignmentOptions(), **{k: v for k, v in changes.items() if v is not None})
    refinement = RefinementOptions(iterations=0) if options.no_refine else RefinementOptions()
    return RegistrationOptions(PredictionOptions(hard=options.features == "labels"), alignment, refinement)


def _info(options, progress) -> str:
    from .bundle import load_bundle

    return json.dumps(load_bundle(options.model).summary(), indent=1)


def _demo(options, progress) -> str:
    from .demo import PHANTOM_MODEL, run_demo, train_phantom_model

    model = PHANTOM_MODEL
    if options.train:
        model = options.out / "trunk-phantom.slicreg"
        train_phantom_model(
            model, options.out, options.iterations, options.scans, options.device, max(1, options.jobs), progress
        )
    return run_demo(options.out, model, options.device, progress)


_COMMANDS = {
    "prepare": _prepare,
    "train": _train,
    "learn": _learn,
    "check": _check,
    "job": _job,
    "register": _register,
    "evaluate": _evaluate,
    "info": _info,
    "demo": _demo,
}

if __name__ == "__main__":
    sys.exit(main())
