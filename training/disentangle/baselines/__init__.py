"""The papers' comparison methods by name. Those that learn behave as systems; the others are plain functions."""

BASELINES: dict[str, tuple[str, str]] = {
    "pix2pix": ("pix2pix", "Pix2Pix"),
    "tcmgan": ("tcmgan", "TCMGAN"),
}
"""Baseline name -> (module in this folder, class)."""
