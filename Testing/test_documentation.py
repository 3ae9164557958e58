"""README and docs: commands parse, examples run, links lead somewhere, and what is generated is up to date."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import SlicRegLib
from SlicRegLib import load_labels, load_scan, load_transform
from SlicRegLib.cli.parser import REQUESTS, parse
from SlicRegLib.registration.model import save_model
from tiny import tiny_model, tiny_study

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = Path(SlicRegLib.__file__).parent
SOURCES = ROOT / "SlicRegExtension" / "SlicReg"
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE_PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md", ROOT / "docs" / "method.md"]
"""Pages that name source files."""
INVENTED = {"teaching/mine.py"}
"""Files that a reader is told to write."""
FLAGS_OF_OTHERS = {"--index-url", "--check"}


FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page that are marked with ``language``; "" for those without a mark."""
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(text) for _, mark, text in found if mark == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def command_lines(page: Path) -> list[list[str]]:
    """The words of each line in the page's blocks, continued lines joined and comments left out."""
    text = "\n".join(blocks(page, "")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := _split(line))]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []  # prose in a block, with an apostrophe


def slicreg_arguments(page: Path) -> list[list[str]]:
    """What follows ``slicreg`` or ``-m SlicRegLib`` in the command lines of a page."""
    found = []
    for words in command_lines(page):
        if words[0] == "slicreg":
            found.append(words[1:])
        elif "SlicRegLib" in words:
            found.append(words[words.index("SlicRegLib") + 1 :])
    return found


COMMANDS = [(page, words) for page in PAGES for words in slicreg_arguments(page)]
BENCHMARKS = [
    (page, words) for page in PAGES for words in command_lines(page) if any("benchmarks/" in w for w in words[:2])
]
EXAMPLES = [(page, text) for page in PAGES for text in blocks(page, "python")]


def names(rows: list[tuple[Path, object]]) -> list[str]:
    return [f"{page.name}-{number}" for number, (page, _) in enumerate(rows)]


def test_the_pages_have_what_is_tested():
    assert len(COMMANDS) > 15
    assert len(BENCHMARKS) > 3
    assert len(EXAMPLES) > 5


def test_the_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
    assert lines[2:5] == ["```", *(line for line in lines if line.startswith(("make demo ", "make test ")))]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=names(COMMANDS))
def test_commands_parse(page, words):
    assert parse(words)[0] == words[0]


@pytest.mark.parametrize(("page", "words"), BENCHMARKS, ids=names(BENCHMARKS))
def test_benchmarks_know_their_arguments(page, words):
    script = ROOT / next(word for word in words if word.startswith("benchmarks/"))
    text = script.read_text(encoding="utf-8")
    for flag in (word for word in words if word.startswith("--")):
        assert re.search(rf'"(--)?{flag[2:]}"', text), f"{script.name} has no {flag}"


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """The flags in the help of each command."""
    sys.path.insert(0, str(ROOT / "docs"))
    from reference import help_of

    return {name: set(re.findall(r"--[a-z][a-z-]*", help_of(name))) for name in REQUESTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_in_the_text_exist(page, flags):
    known = set().union(*flags.values()) | FLAGS_OF_OTHERS
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        words = code.split()
        command = words[1] if words[0] == "slicreg" and len(words) > 1 else ""
        if command and command != "COMMAND":
            assert command in REQUESTS, code
            assert {word for word in words if word.startswith("--")} <= flags[command], code
        elif words[0].startswith("--"):
            assert {word for word in words if word.startswith("--")} <= known, code


@pytest.mark.parametrize(("page", "text"), EXAMPLES, ids=names(EXAMPLES))
def test_imports_of_examples_exist(page, text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("SlicRegLib"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        elif isinstance(node, ast.ImportFrom) and node.module == "SlicRegSlicer":
            assert all((SOURCES / "SlicRegSlicer" / f"{alias.name}.py").is_file() for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "SlicReg":
            text = (SOURCES / "SlicReg.py").read_text(encoding="utf-8")
            assert all(re.search(rf"\b{alias.name}\b", text) for alias in node.names)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def workspace(study, tmp_path, monkeypatch) -> Path:
    """The working folder, with the files that README and tutorial name: phantoms and an untrained model."""
    cohort = study.folder.parent
    files = {
        "template.nii.gz": "template.nii.gz",
        "scan.nii.gz": "img/pt_1.nii.gz",
        "mydata/template.nii.gz": "template.nii.gz",
        "mydata/template_label.nii.gz": "template_label.nii.gz",
        "mydata/test/img/pt_101.nii.gz": "img/pt_1.nii.gz",
        "mydata/test/img/pt_102.nii.gz": "img/pt_2.nii.gz",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cohort / source, tmp_path / name)
    (tmp_path / "job").mkdir()
    save_model(tmp_path / "job" / "mine.slicreg", tiny_model(study))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_quick_start_runs(workspace, capsys):
    (text,) = blocks(README, "python")
    assert '"headneck-openkbp"' in text
    variables: dict = {}
    exec(text.replace('"headneck-openkbp"', '"job/mine.slicreg"'), variables)
    result, written = variables["result"], load_transform(workspace / "transform.h5")
    assert written.grid.matches(result.field.grid)
    assert np.allclose(written.vectors, result.field.vectors, rtol=0, atol=1 / 256)  # rounded
    assert "'preparation'" in capsys.readouterr().out


def test_the_tutorial_registers_many(workspace):
    exec(blocks(TUTORIAL, "python")[-1], {})
    values = set(np.unique(load_labels("mydata/template_label.nii.gz").data))
    for name in ("pt_101", "pt_102"):
        labels = load_labels(f"{name}_labels.nii.gz", load_scan(f"mydata/test/img/{name}.nii.gz"))
        assert len(set(np.unique(labels.data)) & values) > 5


def links(page: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", CODE_PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", prose(page))) - INVENTED
    assert named
    for name in named:
        places = [LIBRARY / name, SOURCES / name, ROOT / name, ROOT / "Testing" / name]
        assert any(p.exists() for p in places) or ("/" not in name and any(SOURCES.rglob(name))), name


def test_the_architecture_is_up_to_date():
    """Repaired by `python docs/architecture.py`."""
    command = [sys.executable, str(ROOT / "docs" / "architecture.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_one_version_everywhere():
    version = SlicRegLib.__version__
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    first = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert first == version


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = (tmp_path / "site" / "options.html").read_text(encoding="utf-8")
    assert "AlignmentOptions" in options
    assert "--key-points" in options
    pages = "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "site").rglob("*.html"))
    assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', pages) == []  # nothing from other hosts


def test_the_tutorial_follows_the_panel():
    """The tabs are named as in the panel and come in its order, and so are the buttons and fields of each step."""
    tree = ElementTree.parse(SOURCES / "Resources" / "UI" / "SlicReg.ui").getroot()
    tabs = [entry.text for entry in tree.findall(".//attribute[@name='title']/string")]
    text = " ".join(prose(TUTORIAL).split())
    assert list(dict.fromkeys(re.findall(r"\btab \*([^*]+)\*", text))) == tabs
    shown = {entry.text.strip(":.").lower() for entry in tree.iter("string") if entry.text} | {"automatic"}
    steps = [
        " ".join(part.split()) for part in prose(TUTORIAL).split("\n\n") if part.startswith(("*In Slicer*", "1. **"))
    ]
    named = {name for step in steps for name in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", step)} - {"In Slicer"}
    assert len(named) > 20
    assert [name for name in named if name.lower() not in shown | {"template file"}] == []
    wanted = ["Install", "sample", "first result", "own scans", "many", "Train"]
    titles = re.findall(r"^## \d\. (.*)$", prose(TUTORIAL), re.MULTILINE)
    assert len(titles) == len(wanted) and all(word in title for word, title in zip(wanted, titles, strict=True))
