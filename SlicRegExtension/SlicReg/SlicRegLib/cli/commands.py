"""One function per command: runs the request and returns the text to print. Slow imports happen inside."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from typing import Any

from ..jobs.options import BatchRequest, CheckRequest, read_options, write_config
from ..progress import Progress
from ..registration.verdict_text import GOOD, describe_counts, describe_verdict
from ..results.options import CarryRequest, EvaluateRequest, FilmRequest, RegisterRequest, SegmentRequest
from ..teaching.options import PrepareRequest
from ..training.options import TrainRequest
from .registration_text import OTHER_TEMPLATE, describe_registration, describe_segmentation, make_verdict_step
from .requests import DemoRequest, InfoRequest, JobRequest, LearnRequest, OutputOptions, RecipeRequest, ServeRequest
from .streams import print_text


def register(request: RegisterRequest, output: OutputOptions, progress: Progress) -> str:
    from ..results.register_files import register_files

    report = register_files(request, progress)
    if output.json:
        print_text(json.dumps(make_verdict_step(report)), sys.stdout)
    return describe_registration(request, report)


def segment(request: SegmentRequest, output: OutputOptions, progress: Progress) -> str:
    from ..results.segment_files import segment_files

    report = segment_files(request, progress)
    if output.json:
        print_text(json.dumps(make_verdict_step(report)), sys.stdout)
    return describe_segmentation(request, report)


def batch(request: BatchRequest, output: OutputOptions, progress: Progress) -> str:
    from ..jobs.register_batch import register_batch

    return register_batch(request, progress).summary()


def evaluate(request: EvaluateRequest, output: OutputOptions, progress: Progress) -> str:
    from ..results.evaluate import evaluate_files

    results = evaluate_files(request, progress)
    mean = results["mean"]
    lines = [] if results["own_template"] else [OTHER_TEMPLATE]
    if "model_choice" in results:
        lines.insert(0, f"Model: {results['model_choice']['reason']}")
    lines.append(
        f"{mean['cases']} cases: mean Dice {mean['before_dice']:.3f} before, {mean['after_dice']:.3f} after; "
        f"HD95 {_mm(mean['before_hd95_mm'])} before, {_mm(mean['after_hd95_mm'])} after; folding "
        f"{mean['folding_percent']:.3f} %; {mean['seconds']:.1f} s each."
    )
    if mean["on_target_dice"] is not None:
        lines.append(f"On the scans' own grids: mean Dice {mean['on_target_dice']:.3f}.")
    lines += [f"Note: {note}" for note in results["notes"]]
    lines.append(f"Verdicts: {describe_counts(results['verdicts'])}.")
    for name, case in results["cases"].items():
        verdict = case["verdict"]
        if verdict["word"] != GOOD:
            lines.append(f"  {name}: {describe_verdict(verdict['word'], verdict['sentence'])}")
        lines += [f"  {name}: Note: {note}" for note in case["notes"]]
        if case["left_out"]:
            lines.append(f"  {name}: left out, since only one of the scans has them: labels {case['left_out']}")
    lines += [f"  {name}: failed: {reason}" for name, reason in results["failed"].items()]
    return "\n".join(lines)


def carry(request: CarryRequest, output: OutputOptions, progress: Progress) -> str:
    from ..results.carry_points import carry_points

    return carry_points(request)


def film(request: FilmRequest, output: OutputOptions, progress: Progress) -> str:
    from ..results.film import make_film

    return make_film(request, progress)


def learn(request: LearnRequest, output: OutputOptions, progress: Progress) -> str:
    from ..jobs.lock import claim_folder, remove_partial_job_files
    from ..jobs.outputs import check_job_outputs, new_job_folder
    from ..jobs.run_job import run_job
    from ..jobs.status import read_last_state

    folder, options = request.out.absolute(), request.job()
    if options.template or options.images or options.name:
        options = options.absolute()
    else:
        options = read_options(folder)
    options.check()
    check_job_outputs(folder, options)
    # before the long imports, so that a second process is refused at once
    with new_job_folder(folder), claim_folder(folder):
        write_config(folder, options)
        remove_partial_job_files(folder)
        if read_last_state(folder).state == "finished":
            return f"The training in {folder} is finished; see {options.name}.slicreg and report.html there."
        model = run_job(folder, options, progress)
    return f"{model} written; look at {folder / 'report.html'}."


def job(request: JobRequest, output: OutputOptions, progress: Progress) -> str:
    from ..jobs import control
    from ..jobs.lock import find_owner
    from ..jobs.status import read_state

    if request.action != "status":
        getattr(control, request.action)(request.folder)
    state = read_state(request.folder)
    if output.json:
        return json.dumps(asdict(state))
    owner = find_owner(request.folder)
    who = f" ({owner.sentence()})" if owner else ""
    left = "" if state.remaining is None else f", about {state.remaining / 60:.0f} min left"
    lines = [
        f"{state.state}{who}: {state.stage} {state.share:.0%} {state.message}".rstrip(": "),
        f"{state.fraction:.0%} in total{left}",
    ]
    return "\n".join([*lines, state.error] if state.error else lines)


def check(request: CheckRequest, output: OutputOptions, progress: Progress) -> str:
    from ..jobs.check import check_files

    return check_files(request, progress)


def prepare(request: PrepareRequest, output: OutputOptions, progress: Progress) -> str:
    from ..teaching.create import prepare_study

    study = prepare_study(request, progress)
    problems = "".join(f"\n  left out: {reason}" for reason in study.failed.values())
    notes = "".join(f"\n  labels: {note}" for note in study.label_notes)
    return (
        f"{len(study.scans)} scans prepared in {request.out}.{problems}{notes}\n"
        f"Next: slicreg train --study {request.out} --out model.slicreg"
    )


def train(request: TrainRequest, output: OutputOptions, progress: Progress) -> str:
    from ..training.train import train_model

    _, seconds, _, loss, accuracy = train_model(request, progress).rows[-1]
    return (
        f"{request.out} written after {seconds:.0f} s; validation loss {loss:.3f}, "
        f"{100 * accuracy:.1f} % of voxels classified correctly (128 classes)."
    )


def info(request: InfoRequest, output: OutputOptions, progress: Progress) -> str:
    from ..registration.installed_models import find_model
    from ..registration.model import load_model
    from ..registration.model_header import compute_sha256
    from ..registration.organs import describe_few_raters

    model = load_model(request.model)
    warnings = describe_few_raters(model.consensus.organs) if model.consensus else []
    about = {**model.summary(), "warnings": warnings, "file_sha256": compute_sha256(find_model(request.model))}
    return json.dumps(about, indent=1)


def demo(request: DemoRequest, output: OutputOptions, progress: Progress) -> str:
    from .demo import run_demo

    return run_demo(replace(request, workers=max(1, request.workers)), progress)


def recipe(request: RecipeRequest, output: OutputOptions, progress: Progress) -> str:
    from .recipe import run_recipe

    return run_recipe(replace(request, workers=max(1, request.workers)), progress)


def serve(request: ServeRequest, output: OutputOptions, progress: Progress) -> str:
    from .serve import serve

    serve(request)
    return ""


def _mm(value: Any) -> str:
    return "undefined" if value is None else f"{value:.1f} mm"
