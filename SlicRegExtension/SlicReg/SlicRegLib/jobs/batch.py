"""Many scans to one template: which ones remain, the command line for each, and a table of the results.

Nothing runs here. The caller runs the arguments of the `next` scan as a `Command` and passes that to `record`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..images.dicom_series import is_same_scan
from ..images.files import atomic, check_output, split_series, stem, write_json
from ..images.inputs import check_file
from ..images.json_reading import read_json
from ..images.options import TransformOptions
from ..network.options import DeviceOptions
from ..registration.model_header import AUTO
from ..registration.options import RegistrationOptions
from ..registration.template_check import check_own_template
from ..registration.verdict_text import WORDS, count_verdicts, describe_counts, describe_verdict
from ..results.contact_sheet import make_sheet_row, write_contact_sheet
from ..results.result_folder import OWN_TEMPLATE, RESULT_FILES, remove_unfinished_results
from .arguments import changed_arguments, write_arguments
from .batch_folder import open_batch_folder
from .batch_rows import (
    CANCELLED,
    COLUMNS,
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    Row,
    make_done_row,
    make_empty_row,
    read_done_report,
)
from .batch_volumes import VOLUMES, Organs, read_organs, write_volumes
from .file_stamps import is_unchanged, make_stamp
from .outcome import EndedProcess

STATE_VERSION = 1
BATCH, TABLE, SHEET = "batch.json", "results.csv", "results.html"


class Batch:
    """Registers targets into ``out / NAME``. A repeated batch skips what has been done already.

    ``out / batch.json`` stores from which inputs and options each result was made, ``out / results.csv`` the figures,
    and ``out / results.html`` shows them with the pictures. A scan that fails does not end the batch: its reason is in
    the table, and a later batch tries it again.
    """

    def __init__(
        self,
        targets: Sequence[tuple[str, str | Path]],
        template: str | Path | None,
        model: str | Path,
        out: str | Path,
        options: Sequence[object] = (),
        template_label: str | Path | None = None,
        labels: Mapping[str, str | Path] | None = None,
        left_out: Iterable[str] = (),
        others: Iterable[str | Path] = (),
        models: str | Path | None = None,
    ):
        """targets: (name, path) of each. model: a model file, or `AUTO`: then the first scan that can be registered
        chooses it for all, also for a repeated batch with this template; ``models`` is a folder of further models to
        choose from. template: None for that of the model. options: further words of `slicreg register`, such as
        ["--device", "cpu"]. template_label: the template's labels, to be carried to every target. labels: name -> the
        target's own labels, compared with those of the template. left_out: sentences about scans that could not become
        targets, for people. others: further files that must not be overwritten. Raises UserError for missing files,
        names that cannot be folders, a folder that cannot be written or in which another batch runs, results that would
        replace an input, and where there is neither a template nor a model that holds one."""
        self.template, self.out = Path(template).absolute() if template else None, Path(out).absolute()
        self.is_automatic, self.models = Path(model) == AUTO, models
        self.model = AUTO if self.is_automatic else Path(model).absolute()
        self.template_label = Path(template_label).absolute() if template_label else None
        self.options = [str(word) for word in options]
        self.labels = {name: Path(path).absolute() for name, path in (labels or {}).items()}
        inputs = {"template": self.template, "template's label map": self.template_label}
        inputs["model"] = None if self.is_automatic else self.model
        for what, path in inputs.items():
            if path and not (what == "template" and split_series(path)[0].is_dir()):
                check_file(path, "check the file name", f"The {what}")
        own = self.template
        self.targets = {n: Path(path).absolute() for n, path in targets if not (own and is_same_scan(path, own))}
        if not own:
            check_own_template(self.model, models, bool(labels))
        if not self.targets:
            raise UserError("There is no scan to register besides the template; add scans.")
        if bad := _find_bad_names(self.targets, [name for name, _ in targets]):
            raise UserError(f"Several scans are called {bad[0]!r}, or no folder can have this name; rename them.")
        results = [f"{name}/{file}" for name in self.targets for file in RESULT_FILES]
        read = [*inputs.values(), *self.targets.values(), *self.labels.values(), *others]
        check_output(self.out, folder=True, names=[BATCH, TABLE, SHEET, VOLUMES, *results], inputs=read)
        open_batch_folder(self.out)
        self.left_out = list(left_out)
        self.warning = ""
        """Why the table could not be written the last time; "" if it could."""
        self._organs: dict[str, Organs] = {}
        self._known, known_model = self._read_known()
        self.model = known_model if self.is_automatic and known_model else self.model
        self._rows = {name: self._make_row(name) for name in self.targets}
        self._tried: set[str] = set()  # in this run
        self._running: dict[str, dict[str, Any]] = {}  # name -> fingerprint
        self._save()

    def rows(self) -> list[Row]:
        """The table, one row per target; ``status`` is "waiting", "running", "done", "failed" or "cancelled"."""
        return [dict(row) for row in self._rows.values()]

    @property
    def fraction(self) -> float:
        """Share of the targets that need nothing more in this run."""
        return 1 - len(self.pending()) / len(self._rows)

    def pending(self) -> list[str]:
        """Names of the targets to be registered in this run, including those that are being registered."""
        return [name for name, row in self._rows.items() if row["status"] != DONE and name not in self._tried]

    def next(self) -> list[str] | None:
        """Begin the next registration: the arguments of `slicreg`, or None if all are done or running."""
        name = next((name for name in self.pending() if name not in self._running), None)
        if name is None:
            return None
        self.begin(name)
        words = ["register"]
        for flag, path in {"--model": self.model, "--template": self.template, "--target": self.targets[name]}.items():
            words += [flag, str(path)] if path else []
        words += ["--out", str(self.out / name)]
        if self.template_label:
            words += ["--template-label", str(self.template_label)]
        if target_label := self._find_target_label(name):
            words += ["--target-label", str(target_label)]
        if self.model == AUTO and self.models:
            words += ["--models", str(self.models)]
        return [*words, *self.options]

    def _find_target_label(self, name: str) -> Path | None:
        """A target's own labels, where there are some of the template to compare them with."""
        return self.labels.get(name) if self.template_label or not self.template else None

    def begin(self, name: str) -> None:
        """Note that a registration runs. Nothing if that is known."""
        if name not in self._running:
            # The fingerprint is taken before the run: a file that changes during it is registered again next time.
            self._running[name] = self._fingerprint(name)
            self._rows[name] = make_empty_row(name, RUNNING)

    def running(self) -> list[str]:
        """Names of the registrations that have begun and are not recorded yet."""
        return list(self._running)

    def record(self, process: EndedProcess, name: str = "") -> None:
        """Enter the result of the process that ran the arguments from `next`, or of the scan with this name."""
        if not self._running:
            raise ValueError("no registration was started with next()")
        name = name or next(reversed(self._running))
        fingerprint = self._running.pop(name)
        self._tried.add(name)
        remove_unfinished_results(self.out / name)  # of processes that were killed
        report = read_done_report(self.out / name) if process.state == "finished" else None
        if report is not None:
            if self.model == AUTO:
                self.model = Path(report["model"])
                fingerprint["model"] = make_stamp(self.model)
            self._known[name] = fingerprint
            self._rows[name] = self._enter(name, report)
        else:
            self._known.pop(name, None)  # the files in its folder are from an earlier run
            cancelled = process.state == CANCELLED
            error = process.error or f"The results in {self.out / name} are incomplete."
            self._rows[name] |= {
                "status": CANCELLED if cancelled else FAILED,
                "seconds": round(process.elapsed, 1),
                "error": "" if cancelled else error,
            }
        self._save()

    def summary(self) -> str:
        """A sentence with the counts, then a line for each failure and each verdict other than "good", with why."""
        rows = list(self._rows.values())
        states, verdicts = ([row[column] for row in rows] for column in ("status", "verdict"))
        counts = ", ".join(f"{states.count(s)} {s}" for s in (DONE, FAILED, CANCELLED, RUNNING, WAITING) if s in states)
        table = self.warning or f"Table: {self.out / TABLE}; pictures: {self.out / SHEET}"
        table += f"; volumes: {self.out / VOLUMES}" if self._organs and not self.warning else ""
        lines = [f"{len(rows)} scans: {counts}. {table}"]
        lines += [f"{row['name']}: {row['error']}" for row in rows if row["status"] == FAILED]
        if self.is_automatic and self.model != AUTO:
            lines.append(f"Model: {self.model.stem}, chosen automatically for all scans.")
        if any(verdicts):
            lines.append(f"Verdicts of what was registered: {describe_counts(count_verdicts(verdicts))}.")
        doubted = [row for row in rows if row["verdict"] in WORDS[1:]]
        for row in sorted(doubted, key=lambda row: WORDS.index(row["verdict"]), reverse=True):  # the worst first
            lines.append(f"{row['name']}: {describe_verdict(row['verdict'], row['verdict_reason'])}")
        if noted := [row["name"] for row in rows if row["notes"]]:
            lines.append(f'Scans were corrected or stand out, see the column "notes" of {TABLE}: {", ".join(noted)}.')
        return "\n".join(lines)

    def _inputs(self, name: str) -> dict[str, Path]:
        files = {
            "target": self.targets[name],
            "template": self.template,
            "model": None if self.model == AUTO else self.model,
            "template_label": self.template_label,
            "target_label": self._find_target_label(name),
        }
        return {what: path for what, path in files.items() if path}

    def _fingerprint(self, name: str) -> dict[str, Any]:
        """What a result depends on: the content of each input, and the options."""
        return {**{what: make_stamp(path) for what, path in self._inputs(name).items()}, "options": self.options}

    def _same_options(self, words: Any) -> bool:
        """Whether words of an earlier batch, of this or another version, have the effect of this batch's options."""
        if not isinstance(words, list):
            return False
        parts = (DeviceOptions(), TransformOptions(), RegistrationOptions())
        defaults = [word for part in parts for word in write_arguments(part)]
        return changed_arguments([str(word) for word in words], defaults) == changed_arguments(self.options, defaults)

    def _make_row(self, name: str) -> Row:
        """A target's first row: its result, if an earlier batch made it from the same inputs and options."""
        known, inputs = self._known.get(name), self._inputs(name)
        if (
            isinstance(known, dict)
            and self._same_options(known.get("options"))
            and set(known) == {*inputs, "options"}
            and all(is_unchanged(known[what], path) for what, path in inputs.items())
            and (report := read_done_report(self.out / name)) is not None
        ):
            return self._enter(name, report)
        return make_empty_row(name, WAITING)

    def _enter(self, name: str, report: Mapping[str, Any]) -> Row:
        """A target's row once it is done; its organs are noted."""
        if organs := read_organs(report):
            self._organs[name] = organs
        return make_done_row(name, report)

    def _read_known(self) -> tuple[dict[str, Any], Path | None]:
        """Name -> fingerprint of the results in the folder, empty if there are none, or the file is damaged; and the
        model that was chosen for this template, if it is still there."""
        try:
            state = read_json(self.out / "batch.json")
            if state["version"] != STATE_VERSION:
                return {}, None
            known, choice = dict(state["cases"]), state.get("choice")
            if choice and Path(choice["model"]).is_file() and self._is_same_template(choice["template"]):
                return known, Path(choice["model"])
            return known, None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}, None

    def _is_same_template(self, stamp: Any) -> bool:
        return is_unchanged(stamp, self.template) if self.template else stamp is None

    def _save(self) -> None:
        try:
            state: dict[str, Any] = {"version": STATE_VERSION, "cases": self._known}
            if self.is_automatic and self.model != AUTO:
                state["choice"] = {
                    "model": str(self.model),
                    "template": make_stamp(self.template) if self.template else None,
                }
            write_json(self.out / BATCH, state)
            with atomic(self.out / TABLE) as part:
                # Excel needs the byte order mark
                with part.open("w", newline="", encoding="utf-8-sig", errors="replace") as file:
                    table = csv.DictWriter(file, COLUMNS)
                    table.writeheader()
                    table.writerows(self._rows.values())
            if self._organs:
                done = {name: self._organs[name] for name in self._rows if name in self._organs}
                write_volumes(self.out / VOLUMES, done, {name: row["verdict"] for name, row in self._rows.items()})
            title = f"Registrations to {stem(self.template) if self.template else OWN_TEMPLATE}"
            write_contact_sheet(self.out / SHEET, title, [make_sheet_row(row) for row in self.rows()], self.left_out)
            self.warning = ""
        except OSError as error:  # Excel locks an open table: no reason to end the batch
            self.warning = (
                f"The table in {self.out} cannot be written ({error.strerror or error}); this is tried again after the "
                "next scan."
            )


def name_scans(paths: Iterable[str | Path]) -> list[tuple[str, Path]]:
    """(name, path) of each file; the names come from the file names and are different folders on every system."""
    # inputs: the folder of what Slicer writes from its scene
    result, taken = [], {"inputs", BATCH, TABLE, SHEET, VOLUMES}
    for path in map(Path, paths):
        plain = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]', "_", stem(path)).strip(" .") or "scan"
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name.lower())
        result.append((name, path))
    return result


def _find_bad_names(targets: Mapping[str, Path], names: list[str]) -> list[str]:
    """Names that would share a folder, or that are not the name of a folder inside the output folder."""
    lower = [name.lower() for name in names]
    return [
        name
        for name in targets
        if lower.count(name.lower()) > 1 or name in ("", ".", "..") or re.search(r"[/\\]", name)
    ]
