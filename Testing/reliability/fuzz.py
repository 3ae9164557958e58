"""Damaged and hostile files through the command line: each is refused in one sentence, or its result is right.

    python Testing/reliability/fuzz.py                        # 2,400 inputs; prints a Markdown table
    python Testing/reliability/fuzz.py --seed 3 --count 100 --kind model
    python Testing/reliability/fuzz.py --seed 3 --only 41     # one input again, with what the command printed

Each input runs in a process of its own with at most 4 GB of addresses and 60 seconds of processor time, forked from one
that has imported everything. Accepted: exit code 0 and results that can be read; a scan must be read as SimpleITK reads
it. Refused: exit code 2, one line on stderr that begins "slicreg: ", and no results. Everything else is a finding; its
files are kept in ``--keep``.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="1")

import argparse
import contextlib
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fuzz_corpus import make_corpus, make_small
from fuzz_judge import compare, judge
from fuzz_kinds import KINDS, Case, make_case

MEMORY = 4 << 30
CPU_SECONDS = 60
WALL_SECONDS = 600
"""A hang without work. Much, since other programs may use the processors."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, help="run this input alone")
    parser.add_argument("--kind", default="", help="a part of the name of the kinds to be run")
    parser.add_argument("--corpus", type=Path, help="folder for the valid files, made there once")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--results", type=Path, help="file of results: inputs in it are not run again")
    parser.add_argument("--jobs", type=int, default=1, help="processes that run inputs at the same time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = options.corpus or Path(scratch) / "corpus"
        prepare(corpus)
        log = options.results or Path(scratch) / "results.jsonl"
        numbers = [options.only] if options.only is not None else range(options.first, options.first + options.count)
        done = {number for number, *_ in read_results(log)}
        todo = [number for number in numbers if number not in done]
        workers = []
        for job in range(options.jobs):
            workers.append(os.fork())
            if workers[-1] == 0:
                try:
                    run_inputs(todo[job :: options.jobs], options, corpus, Path(scratch) / f"case-{job}", log)
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(0)
        for worker in workers:
            os.waitpid(worker, 0)
        results = [row for row in read_results(log) if row[0] in set(numbers)]
    print(make_table([row[1:] for row in results]))
    return int(len(results) < len(numbers) or any(verdict == "finding" for _, _, verdict, _ in results))


def read_results(log: Path) -> list[tuple[int, str, str, float]]:
    """(number, kind, verdict, seconds) of each input."""
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


def run_inputs(numbers: list[int], options: argparse.Namespace, corpus: Path, folder: Path, log: Path) -> None:
    """Run inputs one after the other and add their results to the log."""
    for number in numbers:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kind, case = make_case(corpus, folder, options.seed, number, options.kind)
        verdict, text, seconds = run_case(case, folder, corpus)
        if verdict == "finding" or options.only is not None:
            print(f"--seed {options.seed} --only {number}: {kind.name}: {verdict}\n{text}", flush=True)
        if verdict == "finding":
            kept = options.keep / f"{options.seed}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)
            (kept / "finding.txt").write_text(f"{kind.name}\n{case.words}\n{text}\n", encoding="utf-8")
        with open(log, "a") as file:
            file.write(json.dumps([number, kind.name, verdict, round(seconds, 2)]) + "\n")


def prepare(corpus: Path) -> None:
    """Import everything, and make the corpus in a process of its own: threads do not survive a fork."""
    import matplotlib.figure
    import torch._dynamo
    import torch._inductor

    import SlicRegLib.jobs.check
    import SlicRegLib.jobs.learn
    import SlicRegLib.jobs.register_batch
    import SlicRegLib.results.evaluate
    import SlicRegLib.results.register_files
    import SlicRegLib.teaching.create
    import SlicRegLib.training.train
    from SlicRegLib.cli.parser import parse

    assert matplotlib.figure and SlicRegLib.training.train
    parse(["info", "none"])
    torch.set_num_threads(1)
    make_small()
    if (corpus / "complete").exists():
        return
    corpus.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                make_corpus(corpus)
            complete(corpus)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the corpus could not be made")


def complete(corpus: Path) -> None:
    """The models as an older version wrote them, without sums, and a list of one scan."""
    import zipfile

    for whole, without in (("tiny", "old"), ("average", "old-average")):
        with (
            zipfile.ZipFile(corpus / f"{whole}.slicreg") as archive,
            zipfile.ZipFile(corpus / f"{without}.slicreg", "w") as old,
        ):
            for name in archive.namelist():
                content = archive.read(name)
                if name == "bundle.json":
                    content = json.dumps({k: v for k, v in json.loads(content).items() if k != "sha256"}).encode()
                old.writestr(zipfile.ZipInfo(name), content)
    (corpus / "one.csv").write_text(f"path\n{corpus / 'img' / 'pt_1.nii.gz'}\n")
    (corpus / "complete").touch()


def run_case(case: Case, folder: Path, corpus: Path) -> tuple[str, str, float]:
    """("accepted", "refused" or "finding"; what was printed and what is wrong; seconds of processor time)."""
    out, err, began = folder / ".stdout", folder / ".stderr", time.monotonic()
    child = os.fork()
    if child == 0:
        work(case, out, err, corpus)
    code, used = wait(child)
    printed, error = (path.read_text(errors="replace") for path in (out, err))
    seconds = used.ru_utime + used.ru_stime
    problems = judge(case, code, printed, error, folder)
    if time.monotonic() - began > WALL_SECONDS:
        problems.append("no end within the time")
    text = "\n".join([f"exit code {code}, {seconds:.1f} s", error[-3000:], *problems])
    return "finding" if problems else "accepted" if code == 0 else "refused", text, seconds


def work(case: Case, out: Path, err: Path, corpus: Path) -> None:
    """In the forked process: the command, and what is read after it; its exit code is the process's."""
    code = 70
    try:
        for number, path in ((1, out), (2, err)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        os.chdir(out.parent)  # for relative paths among the words
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        from SlicRegLib.cli.main import main as slicreg

        needs_device = case.words[0] not in ("info", "job", "prepare", "nonsense", "")
        try:
            code = slicreg([*map(str, case.words), *(["--device", "cpu"] if needs_device else []), "--json"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        if code == 0 and case.scan:
            compare(case.scan, corpus / "formats" / "nii" / "pt.nii")
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 71
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int) -> tuple[int, resource.struct_rusage]:
    """The exit code, negative for a signal, and what was used."""
    end = time.monotonic() + WALL_SECONDS
    pause = 0.002
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), used
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, 1.3 * pause)


def make_table(results: list[tuple[str, str, float]]) -> str:
    """Inputs by kind: refused, accepted and right, findings, longest time."""
    lines = [
        "| input: command | inputs | refused | accepted, right | findings | longest, s |",
        "|---|---|---|---|---|---|",
    ]
    for name in [*(kind.name for kind in KINDS), "all"]:
        rows = [row for row in results if name in (row[0], "all")]
        if rows:
            counts = Counter(row[1] for row in rows)
            lines.append(
                f"| {name} | {len(rows)} | {counts['refused']} | {counts['accepted']} | {counts['finding']} | "
                f"{max(row[2] for row in rows):.1f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
