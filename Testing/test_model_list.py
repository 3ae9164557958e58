"""Automatic in the panel: the model that was taken is named; where no model knows the scans, the nearest is offered."""

from types import SimpleNamespace

import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    from panel_samples import (
        HOST,
        MODEL,
        choose_inputs,
        fresh_panel,
        load_coarse_pair,
        switch_refinement_off,
        wait_for_end,
    )


@pytest.fixture
def panel():
    with fresh_panel() as panel:
        yield panel


def test_apply_with_automatic_names_the_model(panel):
    choose_inputs(panel, load_coarse_pair(), "Automatic")
    switch_refinement_off(panel)
    HOST.click(panel.ui.applyButton)
    wait_for_end(panel)
    outputs = panel.registration.run.outputs
    assert outputs.report["model"].endswith(f"{MODEL}.slicreg") and panel.parameters.model == "auto"
    assert f"Model: {MODEL}, since it finds " in panel.ui.summaryLabel.text
    assert panel.registration.run.model.startswith(f"Model: {MODEL}")  # as it was shown under the progress bar


@pytest.mark.parametrize("wanted", [True, False])
def test_the_nearest_model_is_offered_where_none_knows_the_scans(panel, monkeypatch, wanted):
    started = []
    ended = SimpleNamespace(
        state="failed", poll=lambda: "failed", error="No installed model knows them.", nearest=MODEL, log="",
        fraction=0.1, remaining=None, message="", device="", model="", warning="", cancel=lambda: None,
    )  # fmt: skip
    panel.registration.run = ended
    monkeypatch.setattr(panel.registration, "onApply", lambda: started.append(panel.parameters.model))
    HOST.dialogs.answer(wanted)
    panel.registration.onTimer()
    assert "No installed model" in panel.ui.statusLabel.text
    assert started == ([MODEL] if wanted else []) and panel.parameters.model == (MODEL if wanted else "auto")
