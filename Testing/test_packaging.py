"""What the build lists and what the tree holds are the same."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "SlicRegExtension" / "SlicReg"


def test_every_library_file_is_listed_in_cmake():
    listed = set(re.findall(r"SlicRegLib/\w+\.py", (MODULE / "CMakeLists.txt").read_text()))
    assert listed == {f"SlicRegLib/{path.name}" for path in (MODULE / "SlicRegLib").glob("*.py")}


def test_bundles_hold_no_patient():
    from SlicRegLib.bundle import load_bundle

    for path in (ROOT / "SlicRegExtension" / "Resources" / "Models").glob("*.slicreg"):
        bundle = load_bundle(path)
        assert path.stat().st_size < 20_000_000
        if "phantom" not in path.name:
            assert bundle.template is None and bundle.template_labels is None
