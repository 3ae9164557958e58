"""Whether scans can be registered without a template: told before the work, from the models' headers alone."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .installed_models import list_installed_models
from .model_header import AUTO, read_model


def check_own_template(model: Path, models: str | Path | None = None, labelled: bool = False) -> None:
    """Raise UserError unless scans can be registered without a template: the model holds one; if it is `AUTO`, one of
    the installed ones and of the folder ``models``. labelled: whether it must hold labels, too."""
    headers = list_installed_models(models) if model == AUTO else [read_model(model)]
    if model != AUTO and headers[0].problem:
        raise UserError(f"The model {model} cannot be used: {headers[0].problem}")
    start = "No installed model holds a" if model == AUTO else f"The model {headers[0].name} holds no"
    able = [header for header in headers if header.holds_template]
    if not able:
        raise UserError(f"{start} template of its own; choose a template scan.")
    if labelled and not any(h.about.get("organs") or h.about.get("template_labels_included") for h in able):
        raise UserError(f"{start} label of its template, with which those of the scans could be compared.")
