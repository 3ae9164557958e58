"""What goes into the package."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_bundles_hold_no_patient():
    from SlicRegLib.registration.model import load_model

    for path in (ROOT / "SlicRegExtension" / "Resources" / "Models").glob("*.slicreg"):
        bundle = load_model(path)
        assert path.stat().st_size < 20_000_000
        if "phantom" not in path.name:
            assert bundle.template is None and bundle.template_labels is None
