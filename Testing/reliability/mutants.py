"""Tests of the tests: which small faults in the library do they notice?

    .venv/bin/python Testing/reliability/mutants.py geometry/grid results/metrics     (default: all of `TESTS`)

Each mutant (see mutation.py) runs the module's tests, quick ones first, until one fails. Nothing in the repository
changes: package and tests are copied to a temporary folder, and a child process gets the mutated module from an import
hook. Children are forked from a process that has already loaded PyTorch. A mutant counts as killed when a test fails or
when it takes more than four times as long as all tests do. Results are kept in --results and used again as long as the
module is the same; --survivors runs those that survived again, after tests were added. Prints Markdown.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import CodeType

sys.path.insert(0, str(Path(__file__).parent))
from mutation import find_mutants

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("SlicRegExtension/SlicReg")
MEMORY = 6 * 2**30  # bytes of one run
TESTS = {  # module of SlicRegLib -> files of Testing
    "geometry/grid": "grid",
    "geometry/field": "field",
    "geometry/folding": "folding",
    "geometry/inverse": "inverse",
    "geometry/label_maps": "label_maps",
    "geometry/resampling": "resampling",
    "geometry/sampling": "sampling resampling",
    "geometry/gather": "gather",
    "geometry/filters": "filters",
    "geometry/spline": "spline",
    "results/drawing": "drawing overview",
    "results/metrics": "metrics",
    "images/reading": "reading_errors reading volumes dicom",
    "images/source": "reading_errors volumes reading nifti",
    "images/arrays": "archive",
    "images/volumes": "volumes reading",
    "images/nifti": "nifti volumes",
    "images/itk": "volumes transforms reading",
    "images/itk_reading": "volumes reading",
    "images/transforms": "transforms",
    "images/dicom": "dicom",
    "images/dicom_series": "dicom dicom_series",
    "images/dicom_tags": "dicom",
    "images/hounsfield": "intensities hounsfield",
    "images/intensities": "intensities hounsfield",
}


class MutatedModule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives ``code`` to whoever imports the module ``name``."""

    def __init__(self, name: str, path: Path, code: CodeType):
        self.name, self.path, self.code = name, path, code

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec):
        return None

    def exec_module(self, module) -> None:
        exec(self.code, module.__dict__)


class QuickestFirst:
    """A pytest plugin: sorts the tests by how long they took, and keeps durations and the first failure."""

    def __init__(self, durations: dict[str, float]):
        self.known, self.durations, self.failed = durations, {}, ""

    def pytest_collection_modifyitems(self, items) -> None:
        items.sort(key=lambda item: self.known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report) -> None:
        self.durations[report.nodeid] = self.durations.get(report.nodeid, 0.0) + report.duration
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report) -> None:
        if report.failed and not self.failed:
            self.failed = f"import of {report.nodeid}"


def run_tests(copy: Path, module: str, code: CodeType | None, durations: dict[str, float], seconds: float) -> dict:
    """Fork, import the mutated module (code None: the module as it is), run its tests up to the first failure.

    {"outcome": killed, survived or timeout, "by": test, "seconds": CPU time, "durations": {test: seconds}}.
    """
    answer, scratch = copy / "answer.json", copy / "scratch"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _run_child(copy, module, code, durations, seconds, answer, scratch)
    deadline, status = time.monotonic() + 20 * seconds + 60, None
    while status is None:  # CPU time is limited in the child; this is for one that waits forever
        pid, found, usage = os.wait4(child, os.WNOHANG)
        if pid:
            status = found
        elif time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline += 60
        else:
            time.sleep(0.01)
    shutil.rmtree(scratch, ignore_errors=True)
    result = json.loads(answer.read_text()) if answer.exists() else {"code": None, "by": ""}
    result["seconds"] = round(usage.ru_utime + usage.ru_stime, 2)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        result["outcome"] = "timeout"
    else:
        result["outcome"] = "survived" if result.pop("code") == 0 else "killed"
    return result


def _run_child(copy, module, code, durations, seconds, answer, scratch) -> None:
    try:
        import pytest

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.chdir(copy)
        sys.path[:0] = [str(copy / PACKAGE), str(copy / "Testing")]
        if code is not None:
            name = f"SlicRegLib.{module.replace('/', '.')}"
            sys.meta_path.insert(0, MutatedModule(name, copy / PACKAGE / "SlicRegLib" / f"{module}.py", code))
        plugin = QuickestFirst(durations)
        files = [f"Testing/test_{name}.py" for name in TESTS[module].split()]
        words = [*files, "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={scratch}"]
        ended = int(pytest.main(words, plugins=[plugin]))
        others = [
            name for name, loaded in sys.modules.items() if str(copy) not in str(getattr(loaded, "__file__", copy))
        ]
        result = {"code": ended, "by": plugin.failed, "durations": plugin.durations, "packages": others}
        answer.write_text(json.dumps(result))
    finally:
        os._exit(0)


def load(packages: list[str]) -> None:
    """Import what the tests need of other packages, so that each child has it already."""
    for name in packages:
        with contextlib.suppress(ImportError, AttributeError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a child's collections leave the parent's memory alone


def copy_sources(folder: Path) -> Path:
    """The package, the tests and pytest's settings in ``folder``/copy, with the real scans beside it."""
    copy = folder / "copy"
    skip = shutil.ignore_patterns("__pycache__")
    for part in (PACKAGE, "Testing", "SlicRegExtension/Resources"):
        shutil.copytree(ROOT / part, copy / part, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", copy)
    if (ROOT.parent / "shared").is_dir():
        (folder / "shared").symlink_to(ROOT.parent / "shared")
    return copy


def read_results(path: Path) -> dict[str, dict]:
    """What an earlier run, or one beside this one, found: {key of the mutant: result}."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {result["key"]: result for result in map(json.loads, lines)}


def test_module(copy: Path, module: str, known: dict[str, dict], options: argparse.Namespace) -> list[dict]:
    """Results of the module's mutants; those in ``known`` (by their key) are not run again."""
    tree = ast.parse((copy / PACKAGE / "SlicRegLib" / f"{module}.py").read_text(encoding="utf-8"))
    original, seen, mutants = ast.unparse(tree), set(), []
    for mutant in find_mutants(tree):
        before, after, source, code = mutant.apply(tree, f"{module}.py")
        if code is not None and source != original and source not in seen:
            seen.add(source)
            key = hashlib.sha256(f"{module}\n{source}".encode()).hexdigest()[:16]
            mutants.append((key, mutant, before, after, code))
    total = len(mutants)
    if options.sample and module.startswith("images/"):
        mutants = random.Random(0).sample(mutants, total)[: options.sample]  # a larger sample holds a smaller one
    unchanged = None
    results = []
    for key, mutant, before, after, code in mutants:
        old = known.get(key)
        if old is None and options.table:
            continue
        if old is None or (options.survivors and old["outcome"] == "survived"):
            if unchanged is None:
                unchanged = run_tests(copy, module, None, {}, 600)
                if unchanged["outcome"] != "survived":
                    sys.exit(f"{module}: {unchanged['by']} fails without any mutant")
                load(unchanged["packages"])
            found = run_tests(copy, module, code, unchanged["durations"], 10 + 4 * unchanged["seconds"])
            found = {part: found[part] for part in ("outcome", "by", "seconds")}
            old = {"key": key, "module": module, "line": mutant.line, "function": mutant.function, "kind": mutant.kind}
            old |= {"before": before, "after": after, **found}
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(old) + "\n")
        results.append({**old, "line": mutant.line, "of": total})
    return results


def print_table(results: list[dict]) -> None:
    """How many mutants each module had and what became of them; then the survivors."""
    print("| module | mutants | killed | by time | survived |\n|---|---|---|---|---|")
    modules = dict.fromkeys(result["module"] for result in results)
    for module in [*modules, "all"]:
        part = [result for result in results if module in (result["module"], "all")]
        count = Counter(result["outcome"] for result in part)
        made = f"{len(part)}" + (f" of {part[0]['of']}" if module != "all" and part[0]["of"] > len(part) else "")
        print(f"| {module} | {made} | {count['killed']} | {count['timeout']} | {count['survived']} |")
    print("\n| module | line | function | kind | before | after |\n|---|---|---|---|---|---|")
    for result in results:
        if result["outcome"] == "survived":
            cells = (f"`{result[part]}`".replace("|", "\\|") for part in ("before", "after"))
            place = (result[part] for part in ("module", "line", "function", "kind"))
            print("|", " | ".join(map(str, (*place, *cells))), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="such as geometry/grid")
    parser.add_argument("--results", type=Path, default=Path("mutants.jsonl"), help="what is known already")
    parser.add_argument("--survivors", action="store_true", help="run those that survived again")
    parser.add_argument("--sample", type=int, default=40, help="mutants of each module of images, at random; 0: all")
    parser.add_argument("--table", action="store_true", help="run nothing that is not known; print")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "MPLBACKEND": "agg"}
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = copy_sources(Path(folder))
        results = []
        for module in options.modules:
            results += test_module(copy, module, read_results(options.results), options)
            found = Counter(result["outcome"] for result in results if result["module"] == module)
            print(module, dict(found), file=sys.stderr, flush=True)
    print_table(results)


if __name__ == "__main__":
    main()
