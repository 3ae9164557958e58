"""What is told about a registration that has ended."""

from __future__ import annotations

from typing import Any

from ..registration.verdict_text import describe_verdict
from ..results.options import RegisterRequest, SegmentRequest
from ..stages import VERDICT

OTHER_TEMPLATE = "Note: the template is not the model's own; its supervoxels were predicted as well."


def describe_registration(request: RegisterRequest, report: dict[str, Any]) -> str:
    """What is printed after a registration. report: the content of report.json."""
    return "\n".join([*_describe(report), _point_to(request)])


def describe_segmentation(request: SegmentRequest, report: dict[str, Any]) -> str:
    """What is printed after a segmentation: also the organs' volumes."""
    organs = [
        f"  {organ['name']}: {organ['volume_ml']:.1f} ml{_place(organ)}"
        for organ in report["organs"]
        if organ["volume_ml"]
    ]
    return "\n".join([*_describe(report), "Volumes:", *organs, _point_to(request)])


def _place(organ: dict[str, Any]) -> str:
    if not organ["complete"]:
        return ", cut off by the scan's border"
    return "" if organ["percentile"] is None else f", percentile {organ['percentile']:.0f} of the cohort"


def _point_to(request: RegisterRequest | SegmentRequest) -> str:
    look = f"; look at {request.out / 'overview.png'}" if request.picture else ""
    return f"Results are in {request.out}{look}"


def _describe(report: dict[str, Any]) -> list[str]:
    seconds, device, verdict = report["seconds"]["total"], report["device_reason"], report["verdict"]
    lines = [
        describe_verdict(verdict["word"], verdict["sentence"]),
        f"Registered in {seconds:.1f} s on {device}; folding {report['folding_percent']:.2f} %.",
    ]
    if "model_choice" in report:
        lines.append(f"Model: {report['model_choice']['reason']}")
    lines += [f"Note: {note}" for note in report["notes"]]
    if not report["own_template"]:
        lines.append(OTHER_TEMPLATE)
    if "after" in report:
        before, after = report["before"]["mean_dice"], report["after"]["mean_dice"]
        lines.append(f"Mean Dice {before:.3f} before, {after:.3f} after.")
        if report["left_out"]:
            lines.append(f"Left out, since only one of the scans has them: labels {report['left_out']}")
    if "on_target" in report:
        lines.append(f"Mean Dice {report['on_target']['mean_dice']:.3f} on the scan's own grid.")
    return lines


def make_verdict_step(report: dict[str, Any]) -> dict[str, Any]:
    """The last JSON object of `slicreg register --json`: as those of the steps, with verdict and notes."""
    verdict = report["verdict"]
    return {
        "stage": VERDICT,
        "share": 1.0,
        "seconds": report["seconds"]["total"],
        "remaining_seconds": 0.0,
        "details": describe_verdict(verdict["word"], verdict["sentence"]),
        "verdict": verdict,
        "notes": report["notes"],
    }
