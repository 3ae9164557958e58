"""Many registrations to one template: from the scene or from a folder to a `Batch` of files."""

from __future__ import annotations

from pathlib import Path

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import list_images
from SlicRegLib.jobs.batch import Batch, name_scans

from .checks import check_segmentation, check_volume
from .request import Request
from .translation import _
from .writing import write_segmentation, write_volume


def make_scene_batch(
    request: Request, out: Path, volumes: list | None = None, folder: str | Path | None = None
) -> Batch:
    """Registrations of many targets to the request's template, with its model and options, into ``out``.

    volumes: the target nodes; None takes the scans of ``folder``. Template and volumes are written to ``out / inputs``
    at once. A volume that cannot be registered is left out, with the reason in the batch's ``left_out``.
    """
    check_volume(request.template, _("The template volume"))
    if request.templateSegmentation:
        check_segmentation(request.templateSegmentation, _("The template segmentation"))
    good, left_out = _select_volumes(volumes or ())
    if volumes is not None and not good:
        nothing = _("The scene contains no other volume to register; load scans or choose a folder.")
        raise UserError(left_out[0] if left_out else nothing)
    inputs = out / "inputs"
    if volumes is None:
        targets = name_scans(list_images(folder))
    else:
        names = [name for name, _path in name_scans(f"{volume.GetName()}.nrrd" for volume in good)]
        targets = [(name, inputs / "scans" / f"{name}.nrrd") for name in names]
    try:
        (inputs / "scans").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            _("The folder {folder} cannot be written ({reason}); choose another one.").format(
                folder=out, reason=error.strerror
            )
        ) from error
    template, label = inputs / "template.nrrd", None
    write_volume(request.template, template)
    if volumes is not None:
        for volume, (_name, path) in zip(good, targets, strict=True):
            write_volume(volume, path)
    if request.templateSegmentation:
        label = inputs / "template_label.nrrd"
        write_segmentation(request.templateSegmentation, request.template, label)
    return Batch(targets, template, request.model, out, request.words(), label, left_out=left_out)


def _select_volumes(volumes) -> tuple[list, list[str]]:
    """(volumes that can be registered, the reasons why others cannot)."""
    good, reasons = [], []
    for volume in volumes:
        try:
            check_volume(volume, _("The volume"))
            good.append(volume)
        except UserError as error:
            reasons.append(str(error))
    return good, reasons
