"""What the panel says about a run in words."""

from __future__ import annotations

from typing import Any

from ..mrml.text import _
from .model_facts import confidence_line


def summarize(report: dict[str, Any] | None) -> str:
    """What the panel says about a run: volumes per class, model and device, warnings."""
    if not report:
        return ""
    lines = [
        _("{name}: {volume:.1f} ml").format(name=name, volume=volume)
        for name, volume in (report.get("volumes_ml") or {}).items()
    ]
    if report.get("sensitivity", 1) != 1:
        lines.append(_("Odds of lesions: {odds:g} times what the model says.").format(odds=report["sensitivity"]))
    for target, scores in ((report.get("quality") or {}).get("synthesis") or {}).items():
        line = _("{target}: PSNR {psnr:.1f} dB, SSIM {ssim:.2f}, MAE {mae:.3g}").format(
            target=target, **{key: scores.get(key) or 0.0 for key in ("psnr", "ssim", "mae")}
        )
        nearest = scores.get("nearest_input")
        if nearest and nearest.get("psnr") is not None:
            line += _(" (the nearest input, {name}: {psnr:.1f} dB)").format(
                name=nearest["sequence"], psnr=nearest["psnr"]
            )
        lines.append(line)
    lines.append(confidence_line(report))
    bundle = report.get("bundle") or {}
    ran_by = (report.get("backend") or {}).get("name", "")
    seconds = sum((report.get("timings_s") or {}).values())
    lines.append(
        _("Model {name} {version} on {device}{backend}, {seconds:.0f} s.").format(
            name=bundle.get("name", ""),
            version=bundle.get("version", ""),
            device=report.get("device", ""),
            backend=f", {ran_by}" if ran_by else "",
            seconds=seconds,
        )
    )
    lines += [_("Note: {warning}").format(warning=warning) for warning in report.get("warnings") or ()]
    return "\n".join(line for line in lines if line)
