"""The papers' comparison methods by name. Those that learn behave as systems; the others are plain functions."""

BASELINES: dict[str, tuple[str, str]] = {
    "unet": ("unet", "UNetBaseline"),
    "dualstream": ("dualstream", "DualStream"),
    "sdnet": ("sdnet", "SDNet"),
    "standard": ("standard", "Standard"),
    "downstream": ("downstream", "Downstream"),
    "nvnet": ("nvnet", "NVNet"),
    "pix2pix": ("pix2pix", "Pix2Pix"),
    "tcmgan": ("tcmgan", "TCMGAN"),
    "munit": ("munit", "Munit"),
    "dadr": ("dadr", "Dadr"),
    "translation": ("translation", "Translation"),
    "cyclegan": ("cyclegan", "CycleGAN"),
    "tdgan": ("tdgan", "TDGAN"),
}
"""Baseline name -> (module in this folder, class)."""
