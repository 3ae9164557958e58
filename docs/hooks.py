"""What the site's build adds to the pages: options, command line and API from the source code, and files outside docs/.

Pages hold a comment such as ``<!-- options -->`` where generated text belongs. Links to files outside docs/ work in
the repository; on the site they lead to the repository's address, pictures of the extension are copied.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "SlicRegExtension" / "SlicReg"
sys.path[:0] = [str(SOURCES), str(Path(__file__).parent)]

import reference  # noqa: E402
from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

INCLUDED = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages whose content is a file of the repository's root."""
PICTURES = ROOT / "SlicRegExtension" / "Resources"
LIBRARY = SOURCES / "SlicRegLib"
TOP = ("errors", "option", "progress", "stages")
"""Modules at the top of the library, on one API page."""


def api_pages() -> dict[str, str]:
    """Path in docs/ -> Markdown of one page for each folder of the library, which mkdocstrings fills."""
    pages = {"api/top.md": "\n\n".join(["# errors, option, ...", *map(_module, TOP)])}
    for folder in sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py")):
        names = sorted(
            ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
            for path in (LIBRARY / folder).rglob("*.py")
            if path.name != "__init__.py"
        )
        pages[f"api/{folder}.md"] = "\n\n".join([f"# {folder}", *map(_module, names)])
    return pages


def _module(name: str) -> str:
    return f"::: SlicRegLib.{name}"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the API's pages into the navigation, below the public interface."""
    for section in config.nav or []:
        if isinstance(section, dict) and "API" in section:
            section["API"] += api_pages()
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for page, text in api_pages().items():
        files.append(File.generated(config, page, content=text))
    for picture in sorted([*PICTURES.rglob("*.png"), *PICTURES.rglob("*.webp")]):
        name = picture.relative_to(PICTURES).as_posix()
        files.append(File.generated(config, f"resources/{name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    name = page.file.src_uri
    source = INCLUDED.get(name, f"docs/{name}")
    if name in INCLUDED:
        markdown = (ROOT / source).read_text(encoding="utf-8")
    for comment, make in GENERATED.items():
        if comment in markdown:
            markdown = markdown.replace(comment, make())
    repository = config.extra["repository"]
    return re.sub(r"(?<=\]\()[^)\s]+(?=\))", lambda found: site_link(found[0], source, name, repository), markdown)


def site_link(address: str, source: str, page: str, repository: str) -> str:
    """A link in the file ``source`` (path from the root), as it must be on the site's ``page`` (path in docs/)."""
    path, _, anchor = address.partition("#")
    if not path or "://" in path:
        return address
    anchor = f"#{anchor}" if anchor else ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    pictures = PICTURES.relative_to(ROOT).as_posix() + "/"
    if path.startswith("docs/"):
        target = path.removeprefix("docs/")
    elif path.startswith(pictures):
        target = "resources/" + path.removeprefix(pictures)
    else:
        target = next((name for name, file in INCLUDED.items() if file == path), "")
    if not target:
        return f"{repository}/blob/main/{path}{anchor}"
    return posixpath.relpath(target, posixpath.dirname(page) or ".") + anchor


GENERATED: dict[str, Callable[[], str]] = {
    "<!-- options -->": reference.options_page,
    "<!-- commands -->": reference.command_page,
    "<!-- public interface -->": reference.public_page,
}
"""Comment in a page -> what makes the text in its place."""
