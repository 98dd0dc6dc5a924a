"""Bundles: one folder per learned model, with weights, configuration and model card. Never a pickle.

Reading a card needs neither torch nor the systems room, so that a panel can list models before torch is installed.
"""

from .bundle import Bundle, add_fast_mode, verify_bundle, write_bundle
from .card import CARD_FILE, FAST_FILE, FORMAT, WEIGHTS_FILE, ClassInfo, check_card, targets_of
from .licenses import LicenseError
from .store import (
    add_bundle,
    default_bundle_name,
    find_bundle,
    list_bundles,
    nothing_installed,
    remove_bundle,
    scan_bundles,
    search_path,
    user_folder,
)

__all__ = [
    "CARD_FILE",
    "FAST_FILE",
    "FORMAT",
    "WEIGHTS_FILE",
    "Bundle",
    "ClassInfo",
    "LicenseError",
    "add_bundle",
    "add_fast_mode",
    "check_card",
    "default_bundle_name",
    "find_bundle",
    "list_bundles",
    "nothing_installed",
    "remove_bundle",
    "scan_bundles",
    "search_path",
    "targets_of",
    "user_folder",
    "verify_bundle",
    "write_bundle",
]
