"""Many scans to one template: which are to be done, with which command lines, and a table of what came out.

Nothing is run here. The caller asks for the arguments of the `next` scan, runs them as a `job.Job`, and hands that to `record`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

from ..errors import UserError
from ..images.files import atomic, stem

RESULTS = (
    "transform.h5",
    "transform_inverse.h5",
    "warped_target.nii.gz",
    "report.json",
)  # every registration writes them
COLUMNS = (
    "name",
    "status",
    "seconds",
    "folding_percent",
    "dice_before",
    "dice_after",
    "hd95_before_mm",
    "hd95_after_mm",
    "error",
)
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"


class Batch:
    """Registers targets one after another into ``out / NAME``; a repeated batch leaves out what is done already.

    ``out / batch.json`` keeps which inputs and options each result was made from, ``out / results.csv`` the figures. A scan
    that fails has its reason in the table and the next one follows; a later batch tries it again.
    """

    def __init__(
        self,
        targets,
        template: str | Path,
        model: str | Path,
        out: str | Path,
        options=(),
        template_label: str | Path | None = None,
        labels: dict[str, str | Path] | None = None,
        left_out=(),
    ):
        """targets: [(name, path)]. options: further words of `slicreg register`, for example ["--device", "cpu"].
        template_label: the template's labels, to be carried to every target. labels: {name: the target's own labels}.
        left_out: sentences on scans that could not be given to it, for people."""
        self.template, self.model, self.out = Path(template).absolute(), Path(model).absolute(), Path(out).absolute()
        self.template_label = Path(template_label).absolute() if template_label else None
        self.options = [str(word) for word in options]
        self.labels = {name: Path(path).absolute() for name, path in (labels or {}).items()}
        for what, path in (
            ("template", self.template),
            ("model", self.model),
            ("template's label map", self.template_label),
        ):
            if path and not path.is_file():
                raise UserError(f"The {what} {path} does not exist; check the file name.")
        self.targets = {name: Path(path).absolute() for name, path in targets if not _same(path, self.template)}
        if not self.targets:
            raise UserError("There is no scan to register besides the template; add scans.")
        if clashes := _clashes(self.targets, [name for name, _ in targets]):
            raise UserError(
                f"Several scans have the name {clashes[0]}, or one that no folder can have; give each its own."
            )
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The folder {self.out} cannot be written ({error.strerror or error}).") from error
        self.left_out = list(left_out)
        self.warning = ""  # why the table could not be written, while that is so
        self._known = self._read_state()
        self._rows = {name: self._row(name) for name in self.targets}
        self._tried: set[str] = set()  # in this run: none twice
        self._current: tuple[str, dict] | None = None  # name and fingerprint of the one that runs
        self._save()

    def rows(self) -> list[dict]:
        """The table: one dictionary with the keys COLUMNS per target; a figure that is not known is None.

        status: "waiting", "running", "done", "failed" or "cancelled".
        """
        return [dict(row) for row in self._rows.values()]

    @property
    def fraction(self) -> float:
        """Share of the targets that needs nothing more in this run."""
        return 1 - len(self.pending()) / len(self._rows)

    def pending(self) -> list[str]:
        """Names of the targets that are still to be registered in this run, the one that runs included."""
        return [name for name, row in self._rows.items() if row["status"] != DONE and name not in self._tried]

    def next(self) -> list[str] | None:
        """The arguments of `slicreg` for the next registration, None once all are done. `record` must be called in between."""
        names = self.pending()
        if not names:
            return None
        name = names[0]
        arguments = [
            "register",
            "--model",
            self.model,
            "--template",
            self.template,
            "--target",
            self.targets[name],
            "--out",
            self.out / name,
        ]
        if self.template_label:
            arguments += ["--template-label", self.template_label]
            if name in self.labels:
                arguments += ["--target-label", self.labels[name]]
        # the fingerprint is taken before the run: a file that changes meanwhile is registered again next time
        self._current = name, self._fingerprint(name)
        self._rows[name] = {**dict.fromkeys(COLUMNS), "name": name, "status": RUNNING, "error": ""}
        return [str(a) for a in [*arguments, *self.options]]

    def record(self, job) -> None:
        """How the registration of the last `next` ended. job: its ``state``, ``error`` and ``elapsed`` are looked at."""
        name, fingerprint = self._current
        self._current = None
        self._tried.add(name)
        report = _report(self.out / name) if job.state == "finished" else None
        if report is not None:
            self._known[name] = fingerprint
            self._rows[name] = _figures(name, report)
        else:
            self._known.pop(name, None)  # what stands in its folder is of an earlier run
            cancelled = job.state == CANCELLED
            self._rows[name] |= {
                "status": CANCELLED if cancelled else FAILED,
                "seconds": round(job.elapsed, 1),
                "error": "" if cancelled else job.error or f"The results in {self.out / name} are not whole.",
            }
        self._save()

    def summary(self) -> str:
        """One sentence for people, then the reason of each failure."""
        states = [row["status"] for row in self._rows.values()]
        text = ", ".join(f"{states.count(s)} {s}" for s in (DONE, FAILED, CANCELLED, RUNNING, WAITING) if s in states)
        failures = "".join(f"\n{row['name']}: {row['error']}" for row in self._rows.values() if row["status"] == FAILED)
        return f"{len(self._rows)} scans: {text}. Table: {self.out / 'results.csv'}{failures}"

    def _inputs(self, name: str) -> dict[str, Path]:
        files = {
            "target": self.targets[name],
            "template": self.template,
            "model": self.model,
            "template_label": self.template_label,
            "target_label": self.labels.get(name) if self.template_label else None,
        }
        return {what: path for what, path in files.items() if path}

    def _fingerprint(self, name: str) -> dict:
        """What a result depends on: the content of each input, and the options."""
        return {**{what: _stamp(path) for what, path in self._inputs(name).items()}, "options": self.options}

    def _row(self, name: str) -> dict:
        """The row of a target before anything has run: of an earlier batch where its result is whole and of the same inputs."""
        known, inputs = self._known.get(name), self._inputs(name)
        if (
            isinstance(known, dict)
            and known.get("options") == self.options
            and set(known) == {*inputs, "options"}
            and all(_unchanged(known[what], path) for what, path in inputs.items())
        ):
            if (report := _report(self.out / name)) is not None:
                return _figures(name, report)
        return {**dict.fromkeys(COLUMNS), "name": name, "status": WAITING, "error": ""}

    def _read_state(self) -> dict[str, dict]:
        try:
            state = json.loads((self.out / "batch.json").read_text(encoding="utf-8"))
            return {str(name): stamp for name, stamp in state["cases"].items()} if state["version"] == 1 else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # none yet, or not whole: everything is done again

    def _save(self) -> None:
        try:
            with atomic(self.out / "batch.json") as part:
                part.write_text(json.dumps({"version": 1, "cases": self._known}, indent=1), encoding="utf-8")
            with (
                atomic(self.out / "results.csv") as part,
                part.open("w", newline="", encoding="utf-8-sig") as file,
            ):  # for Excel
                table = csv.DictWriter(file, COLUMNS)
                table.writeheader()
                table.writerows(self._rows.values())
            self.warning = ""
        except OSError as error:  # Excel locks a table that it shows: no reason to end the run
            self.warning = (
                f"The table in {self.out} cannot be written ({error.strerror or error}); "
                "it will be tried again after the next scan."
            )


def name_scans(paths) -> list[tuple[str, Path]]:
    """[(name, path)] with names that are different folders on every system, made from the file names."""
    result, taken = [], {"inputs"}  # the folder that holds what was written from the scene
    for path in map(Path, paths):
        plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", stem(path)).strip(" .") or "scan"
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name.lower())
        result.append((name, path))
    return result


def _clashes(targets: dict[str, Path], names: list[str]) -> list[str]:
    """Names that would share a folder, or that are none inside the output folder."""
    lower = [name.lower() for name in names]
    return [
        name
        for name in targets
        if lower.count(name.lower()) > 1 or name in ("", ".", "..") or re.search(r"[/\\]", name)
    ]


def _same(a: str | Path, b: str | Path) -> bool:
    return Path(a).resolve() == Path(b).resolve()


def _stamp(path: Path) -> dict | None:
    """Size, time and content of a file; None for one that is not there."""
    try:
        about = path.stat()
        return {
            "size": about.st_size,
            "modified_ns": about.st_mtime_ns,
            "sha256": _sha256(path, about.st_size, about.st_mtime_ns),
        }
    except OSError:
        return None


def _unchanged(known, path: Path) -> bool:
    """Whether a file is as `_stamp` saw it. Only one with a new time is read: a scene's volume is written anew for each batch."""
    try:
        about = path.stat()
        if not isinstance(known, dict) or about.st_size != known.get("size"):
            return False
        return about.st_mtime_ns == known.get("modified_ns") or _sha256(
            path, about.st_size, about.st_mtime_ns
        ) == known.get("sha256")
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """Of the content; size and time are there so that a changed file is read again."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _report(folder: Path) -> dict | None:
    """The report of a registration whose files are all there, else None."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        whole_report = isinstance(report["seconds"]["total"], (int, float)) and "folding_percent" in report
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report if whole_report and all((folder / name).is_file() for name in RESULTS) else None


def _figures(name: str, report: dict) -> dict:
    before, after = report.get("before") or {}, report.get("after") or {}
    return {
        "name": name,
        "status": DONE,
        "seconds": report["seconds"]["total"],
        "folding_percent": report["folding_percent"],
        "dice_before": before.get("mean_dice"),
        "dice_after": after.get("mean_dice"),
        "hd95_before_mm": before.get("mean_hd95_mm"),
        "hd95_after_mm": after.get("mean_hd95_mm"),
        "error": "",
    }
