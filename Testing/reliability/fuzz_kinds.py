"""Kinds of inputs: which valid file is damaged how, and which command then reads it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fuzz_mutations as m
import numpy as np
from fuzz_corpus import FEW
from fuzz_mutations import Rng

Words = list[object]
FORMATS = ("nii", "nii", "nii.gz", "nii2", "pair", "nrrd", "nhdr", "mha", "mhd", "dicom", "dicom")


@dataclass(frozen=True)
class Case:
    """A command on a damaged file."""

    words: Words
    damaged: Path
    out: Path | None
    """What must not be there, or must be as before, if the command refuses."""
    scan: Path | None = None
    """What `load_scan` reads; if the command accepts it, SimpleITK must read the same."""


@dataclass(frozen=True)
class Kind:
    """A kind of input. make: corpus, empty folder, generator -> case."""

    name: str
    weight: float
    make: Callable[[Path, Path, Rng], Case]


def _copy(source: Path, folder: Path) -> Path:
    """A copy of a file or folder; what is not changed is linked, so that nothing large is copied."""
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target, copy_function=os.link)
    else:
        os.link(source, target)
    return target


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # a link to the corpus
    path.write_bytes(content)


def _damage_image(folder: Path, form: str, rng: Rng) -> Path:
    """Damage a file of an image in its folder; returns what is given to the command."""
    if form == "dicom":
        series = folder / "series"
        files = sorted(series.iterdir())
        chosen = rng.choice(len(files), int(rng.integers(1, 4)), replace=False)
        for n in chosen:
            if rng.random() < 0.15:
                files[n].unlink()
            else:
                _write(files[n], m.damage(files[n].read_bytes(), rng, 1200))
        return series if rng.random() < 0.8 or not files[0].exists() else files[0]
    files = sorted(folder.iterdir())
    path = files[rng.integers(len(files))] if rng.random() < 0.3 else min(files, key=lambda p: p.stat().st_size)
    content = path.read_bytes()
    header = {"pair": 348, "nii2": 540}.get(form, 352)
    text = form in ("nrrd", "nhdr", "mha", "mhd")

    def edit(part: bytes) -> bytes:
        if not text or rng.random() < 0.3:
            return m.damage(part, rng, min(header, 400))
        end = part.find(b"\n\n") if form.startswith("n") else part.find(b"LOCAL")
        end = len(part) if end < 0 or path.suffix in (".raw", ".zraw") else end
        return m.change_text(part[:end], rng) + part[end:] if end < 5000 else m.damage(part, rng, 200)

    _write(path, m.change_gzip(content, rng, edit) if path.suffix == ".gz" else edit(content))
    return next(p for p in files if p.suffix not in (".img", ".raw", ".zraw") or len(files) == 1)


def _scan(command: str) -> Callable[[Path, Path, Rng], Case]:
    def make(corpus: Path, folder: Path, rng: Rng) -> Case:
        form = FORMATS[rng.integers(len(FORMATS))]
        copy = _copy(corpus / "formats" / form, folder)
        path, out = _damage_image(copy, form, rng), folder / "out"
        words: Words = {
            "register": ["register", "--model", corpus / "tiny.slicreg", "--template", corpus / "template.nii.gz",
                         "--target", path, "--out", out, *FEW],
            "check": ["check", "--template", path, "--images", corpus / "one.csv", "--out", out, "--jobs", "1"],
            "prepare": ["prepare", "--template", path, "--images", corpus / "one.csv", "--out", out, "--spacing", "8",
                        "--shape", "48", "32", "48", "--jobs", "1"],
            "cohort": ["check", "--template", corpus / "template.nii.gz", "--images", _list(folder, path),
                       "--jobs", "1"],
            "evaluate": ["evaluate", "--model", corpus / "tiny.slicreg", "--template", path, "--template-label",
                         corpus / "label" / "pt_1.nii.gz", "--images", corpus / "img", "--labels", corpus / "label",
                         "--out", folder / "out.json", *FEW],
        }[command]  # fmt: skip
        return Case(words, path, folder / "out.json" if command == "evaluate" else out, path)

    return make


def _write_changed(path: Path, rng: Rng) -> None:
    content = path.read_bytes()
    as_json = path.suffix == ".json" and rng.random() < 0.8
    _write(path, m.change_json(content, rng) if as_json else m.damage(content, rng))


def _list(folder: Path, path: Path) -> Path:
    (folder / "list.csv").write_text(f"path\n{path}\n")
    return folder / "list.csv"


def _labels(corpus: Path, folder: Path, rng: Rng) -> Case:
    form = FORMATS[rng.integers(len(FORMATS) - 2)]  # without DICOM
    path, out = _damage_image(_copy(corpus / "labels" / form, folder), form, rng), folder / "out"
    words: Words = ["register", "--model", corpus / "tiny.slicreg", "--template", corpus / "template.nii.gz"]
    words += ["--template-label", corpus / "template_label.nii.gz", "--target", corpus / "img" / "pt_1.nii.gz"]
    return Case([*words, "--target-label", path, "--out", out, *FEW], path, out)


def _csv(corpus: Path, folder: Path, rng: Rng) -> Case:
    path, out = folder / "list.csv", folder / "out"
    text = (corpus / "list.csv").read_bytes()
    path.write_bytes(m.change_text(text, rng) if rng.random() < 0.6 else m.damage(text, rng))
    return Case(["check", "--template", corpus / "template.nii.gz", "--images", path, "--out", out, "--jobs", "1"],
                path, out)  # fmt: skip


def _strip(text: bytes, rng: Rng) -> bytes:
    """bundle.json without its sums, as an older version wrote it, and changed."""
    import json

    content = json.loads(text)
    if rng.random() < 0.8:
        content.pop("sha256", None)
    return m.change_json(json.dumps(content).encode(), rng)


def _npz(content: bytes, rng: Rng) -> bytes:
    return m.change_npz(content, rng) if rng.random() < 0.6 else m.change_header_of_npz(content, rng)


def _model(command: str) -> Callable[[Path, Path, Rng], Case]:
    def make(corpus: Path, folder: Path, rng: Rng) -> Case:
        path, out = folder / "m.slicreg", folder / "out"
        average = command == "segment" or (command == "info" and rng.random() < 0.5)
        with_sums, without = ("average", "old-average") if average else ("tiny", "old")
        content = (corpus / f"{without if rng.random() < 0.6 else with_sums}.slicreg").read_bytes()
        if rng.random() < 0.25:
            content = m.damage(content, rng, 3000)
        else:
            editors = {".json": _strip, ".npz": _npz}
            content = m.change_zip(content, rng, editors, lambda part: m.damage(part, rng, 2000))
        path.write_bytes(content)
        words: Words = ["info", path]
        if command == "register":
            words = ["register", "--model", path, "--template", corpus / "template.nii.gz", "--target",
                     corpus / "img" / "pt_1.nii.gz", "--out", out, *FEW]  # fmt: skip
        if command == "segment":
            words = ["segment", "--model", path, "--target", corpus / "img" / "pt_1.nii.gz", "--out", out, *FEW]
        return Case(words, path, out)

    return make


def _names(corpus: Path, folder: Path, rng: Rng) -> Case:
    """A table of label names; the study is finished, so that only its labels are counted."""
    study = _copy(corpus / "study", folder)
    path = folder / "names.csv"
    text = (corpus / "names.csv").read_bytes()
    path.write_bytes(m.change_text(text, rng) if rng.random() < 0.6 else m.damage(text, rng))
    words: Words = ["prepare", "--template", corpus / "template.nii.gz", "--images", corpus / "img", "--out", study]
    words += ["--spacing", "8", "--shape", "48", "32", "48", "--labels", corpus / "label", "--label-names", path]
    return Case([*words, "--jobs", "1"], path, None)


def _checkpoint(corpus: Path, folder: Path, rng: Rng) -> Case:
    trained = _copy(corpus / "trained", folder)
    path = trained / "m.checkpoint"
    content = path.read_bytes()
    if rng.random() < 0.3:
        content = m.damage(content, rng, 3000)
    else:
        content = m.change_zip(content, rng, {".json": m.change_json}, lambda part: m.damage(part, rng, 3000))
    _write(path, content)
    words: Words = [
        "train",
        "--study",
        corpus / "study",
        "--out",
        trained / "m.slicreg",
        "--iterations",
        "2",
        "--resume",
    ]
    return Case(words, path, None)


def _study(corpus: Path, folder: Path, rng: Rng) -> Case:
    study, out = _copy(corpus / "study", folder), folder / "out" / "m.slicreg"
    files = sorted(p for p in study.rglob("*") if p.is_file() and not p.name.startswith("."))
    path = files[rng.integers(len(files))] if rng.random() < 0.6 else study / "study.json"
    content = path.read_bytes()
    if rng.random() < 0.2:
        content = m.damage(content, rng, 200)
    elif path.suffix == ".json":
        content = m.change_json(content, rng)
    else:
        content = _npz(content, rng)
    _write(path, content)
    return Case(["train", "--study", study, "--out", out, "--iterations", "1"], path, out)


def _job(command: str) -> Callable[[Path, Path, Rng], Case]:
    def make(corpus: Path, folder: Path, rng: Rng) -> Case:
        job = _copy(corpus / "job", folder)
        names = ("job.json", "state.json", "owner.json", "cohort.json", "m_curve.csv")
        path = job / names[rng.integers(2 if command == "learn" else len(names))]
        _write_changed(path, rng)
        return Case(["job", "status", job] if command == "job" else ["learn", "--out", job], path, None)

    return make


def _batch(corpus: Path, folder: Path, rng: Rng) -> Case:
    out = _copy(corpus / "batch", folder)
    path = out / ("batch.json" if rng.random() < 0.7 else "results.csv")
    if rng.random() < 0.2:
        path = out / "pt_1" / "report.json"
    _write_changed(path, rng)
    words: Words = ["batch", "--model", corpus / "tiny.slicreg", "--template", corpus / "template.nii.gz"]
    return Case([*words, "--images", corpus / "list.csv", "--out", out, *FEW], path, None)


FLAGS = {
    "register": "model template target out target-label key-points iterations learning-rate alpha neighbours seed "
    "chunk buckets smoothing spline-lambda field-spacing-mm coarse-iterations step-size least-stretch radius device",
    "check": "template images spacing shape jobs iterations batch learning-rate preset out",
    "prepare": "template images out spacing shape jobs teacher scheduler deeds-dir from",
    "train": "study out iterations batch learning-rate seed preset from cohort include-template device",
    "learn": "out template images name spacing shape jobs iterations batch preset from",
    "evaluate": "model template template-label images labels out alpha features",
    "batch": "model template images out labels key-points",
    "info": "json", "job": "json",
}  # fmt: skip


def _argv(corpus: Path, folder: Path, rng: Rng) -> Case:
    """Words that make no sense, among some that do."""
    command = str(rng.choice([*FLAGS, "nonsense", ""]))
    words: Words = [command]
    for flag in rng.choice(FLAGS.get(command, "a b").split(), int(rng.integers(0, 6))):
        words.append(f"--{flag}")
        value = rng.choice(
            [
                *m.WORDS[:-1],
                "140000",
                "1000000000",
                "-5",
                "2.5",
                str(folder),
                str(corpus / "none"),
                "a" * 300,
                "--x",
                "é",
            ]
        )
        words += [str(value)] * int(rng.choice([0, 1, 1, 1, 1, 3]))
    if command in ("register", "check") and rng.random() < 0.5:  # all that is needed, so that the option is at fault
        words += ["--template", corpus / "template.nii.gz", "--out", folder / "out"]
        words += ["--images", corpus / "none"] if command == "check" else []
        words += ["--model", corpus / "none", "--target", corpus / "none"] if command == "register" else []
    return Case(words, folder, folder / "out")


KINDS = (
    Kind("scan: register", 9, _scan("register")),
    Kind("scan: check", 18, _scan("check")),
    Kind("scan: in a cohort", 8, _scan("cohort")),
    Kind("scan: prepare", 4, _scan("prepare")),
    Kind("scan: evaluate", 4, _scan("evaluate")),
    Kind("labels: register", 8, _labels),
    Kind("list of scans: check", 3, _csv),
    Kind("model: info", 20, _model("info")),
    Kind("model: register", 3, _model("register")),
    Kind("model: segment", 3, _model("segment")),
    Kind("label names: prepare", 2, _names),
    Kind("checkpoint: train --resume", 6, _checkpoint),
    Kind("study: train", 7, _study),
    Kind("job's files: job status", 4, _job("job")),
    Kind("job's files: learn", 1, _job("learn")),
    Kind("batch's files: batch", 1, _batch),
    Kind("words: any command", 6, _argv),
)


def make_case(corpus: Path, folder: Path, seed: int, number: int, only: str = "") -> tuple[Kind, Case]:
    """Input ``number`` of ``seed``: always the same."""
    rng = np.random.default_rng([seed, number])
    kinds = [kind for kind in KINDS if only in kind.name]
    weights = np.array([kind.weight for kind in kinds])
    kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    return kind, kind.make(corpus, folder, rng)
