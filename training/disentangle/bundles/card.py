"""The model card ``bundle.json``: what must be in it, checked by hand, one readable sentence per defect."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..sequences import SEQUENCES

FORMAT = 1
CARD_FILE = "bundle.json"
WEIGHTS_FILE = "model.safetensors"
FAST_FILE = "fast.zip"
MAX_CARD_BYTES = 4 * 1024 * 1024

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
# Windows cannot make folders of these names, whatever their case.
_RESERVED = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}


@dataclass(frozen=True)
class ClassInfo:
    """A class of the segmentation.

    Attributes:
        value: voxel value in the label volume; 0 is the background.
        name: shown to the user.
        color: (r, g, b), 0 to 255.
        terminology: {"category": code, "type": code} and where there is one "modifier": code, a code being {"scheme",
            "value", "meaning"}; or None.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: dict[str, dict[str, str]] | None = None

    @property
    def abnormal(self) -> bool:
        """Whether it is a lesion rather than a tissue or an organ, as far as its terminology tells."""
        return bool(self.terminology) and self.terminology["category"]["value"] == _ABNORMAL["value"]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``bundle.json``."""
        return {
            "value": self.value,
            "name": self.name,
            "color": list(self.color),
            "terminology": self.terminology,
        }


def _organ(value: str, meaning: str) -> dict[str, dict[str, str]]:
    return {"category": _ANATOMY, "type": _code(value, meaning)}


def _code(value: str, meaning: str) -> dict[str, str]:
    return {"scheme": "SCT", "value": value, "meaning": meaning}


_ANATOMY = _code("123037004", "Anatomical Structure")
_RIGHT, _LEFT = {"modifier": _code("24028007", "Right")}, {"modifier": _code("7771000", "Left")}
_ABNORMAL = _code("49755003", "Morphologically Altered Structure")
# Colours follow Slicer's own for tissues and organs, as far as neighbours differ; lesions stand out from them and from
# each other. Codes: DICOM PS3.16, CID 7150 (categories, as Slicer's "DICOM master list" pairs them), CID 7153 (central
# nervous system), CID 7159 (lesions); organs and ventricles as in that list, which has no myocardium.
_KNOWN_CLASSES: dict[str, tuple[tuple[int, int, int], dict[str, dict[str, str]] | None]] = {
    "background": ((0, 0, 0), None),
    "cerebrospinal fluid": ((85, 188, 255), {"category": _ANATOMY, "type": _code("65216001", "Cerebrospinal Fluid")}),
    "grey matter": ((200, 200, 235), {"category": _ANATOMY, "type": _code("389081007", "Gray Matter")}),
    "white matter": ((250, 250, 225), {"category": _ANATOMY, "type": _code("389080008", "White Matter")}),
    "white-matter lesion": ((255, 170, 0), {"category": _ABNORMAL, "type": _code("52988006", "Lesion")}),
    "peritumoral edema": ((140, 224, 110), {"category": _ABNORMAL, "type": _code("79654002", "Edema")}),
    "necrotic or non-enhancing core": ((216, 60, 60), {"category": _ABNORMAL, "type": _code("6574001", "Necrosis")}),
    "myocardium": ((255, 200, 120), _organ("74281007", "Myocardium")),
    "left ventricle": ((200, 60, 50), _organ("87878005", "Left ventricle")),
    "right ventricle": ((90, 140, 220), _organ("53085002", "Right ventricle")),
    "liver": ((221, 130, 101), _organ("10200004", "Liver")),
    "spleen": ((157, 108, 162), _organ("78961009", "Spleen")),
    "right kidney": ((185, 102, 83), {**_organ("64033007", "Kidney"), **_RIGHT}),
    "left kidney": ((110, 184, 209), {**_organ("64033007", "Kidney"), **_LEFT}),
    "enhancing tumour": ((255, 235, 60), {"category": _ABNORMAL, "type": _code("108369006", "Neoplasm")}),
}


def default_class(value: int, name: str) -> ClassInfo:
    """Colour and terminology of a class that is known by name; an unknown one gets a colour by its value."""
    if name.lower() in _KNOWN_CLASSES:
        color, terminology = _KNOWN_CLASSES[name.lower()]
        return ClassInfo(value, name, color, terminology)
    turn = 2 * math.pi * value * 0.618  # golden-ratio steps around the colour circle stay distinct
    color = tuple(round(155 + 100 * math.cos(turn + shift)) for shift in (0.0, 2.1, 4.2))
    return ClassInfo(value, name, color)  # type: ignore[arg-type]


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a bundle folder, checked.

    Raises:
        InputError: no card, not JSON, or a defect of the schema; the first defect is named.
    """
    path = folder / CARD_FILE
    if not folder.is_dir():
        raise InputError(f"{folder} is not a model: it is no folder; name a folder that holds {CARD_FILE}.")
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise InputError(f"{path} is larger than {MAX_CARD_BYTES >> 20} MB and no model card; get the model again.")
        card = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise InputError(f"{folder} is not a model: it holds no {CARD_FILE}; name the folder that does.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the file.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not valid JSON; get the model again.") from error
    defects = check_card(card)
    if defects:
        more = f" (and {len(defects) - 1} more)" if len(defects) > 1 else ""
        raise InputError(f"The model in {folder} cannot be used: {defects[0]}{more}; get it again or export it anew.")
    return card


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def is_name(text: object) -> bool:
    """Whether a text may be a bundle's name, and so the name of a folder on every system."""
    return isinstance(text, str) and len(text) <= 64 and _NAME.fullmatch(text) is not None and text not in _RESERVED


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_sequences(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(n, str) and n in SEQUENCES for n in value) and len(set(value)) == len(value)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_color(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_int(v, 0, 255) for v in value)


def _is_code(value: object) -> bool:
    return isinstance(value, dict) and all(_is_text(value.get(key)) for key in ("scheme", "value", "meaning"))


def _is_terminology(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not all(_is_code(value.get(key)) for key in ("category", "type")):
        return False
    return "modifier" not in value or _is_code(value["modifier"])


_FIELDS: tuple[tuple[tuple[str, ...], Callable[[object], bool], str], ...] = (
    (("format",), lambda v: _is_int(v, 1, FORMAT), f"must be a whole number from 1 to {FORMAT}"),
    (("name",), is_name, "must be made of small letters, digits, '-', '_' and '.'"),
    (("version",), _is_text, "must be a text such as '1.0.0'"),
    (("system",), lambda v: isinstance(v, dict), "must be an object with 'name' and 'config'"),
    (("system", "name"), _is_text, "must name a system such as 'margindis'"),
    (("system", "config"), lambda v: isinstance(v, dict), "must be an object"),
    (("sequences",), _is_sequences, f"must list distinct sequences out of {', '.join(SEQUENCES)}"),
    (("classes",), lambda v: isinstance(v, list), "must be a list (empty where the model does not segment)"),
    (("preprocessing",), lambda v: isinstance(v, dict), "must be an object"),
    (("default_styles",), lambda v: isinstance(v, dict), "must be an object of vectors by sequence"),
    (("license",), lambda v: isinstance(v, dict), "must be an object with 'name' and 'permissive'"),
    (("license", "name"), _is_text, "must name a licence"),
    (("license", "permissive"), lambda v: isinstance(v, bool), "must be true or false"),
    (("weights",), lambda v: isinstance(v, dict), "must be an object with 'sha256'"),
    (("weights", "sha256"), _is_sha256, "must be 64 hexadecimal digits"),
)


def check_card(card: object) -> list[str]:
    """The defects of a card, each a clause such as "'name' is missing"; empty when it is sound."""
    if not isinstance(card, dict):
        return [f"{CARD_FILE} must hold an object"]
    if _is_int(card.get("format"), FORMAT + 1, 10**9):
        return [f"it has format {card['format']} and this version reads up to {FORMAT}, so Disentangle must be updated"]
    defects = []
    for keys, accepts, rule in _FIELDS:
        holder: Any = card
        for key in keys[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if not isinstance(holder, dict):
            continue  # the holder itself is reported
        field = ".".join(keys)
        if keys[-1] not in holder:
            defects.append(f"'{field}' is missing from {CARD_FILE}")
        elif not accepts(holder[keys[-1]]):
            defects.append(f"'{field}' in {CARD_FILE} {rule}")
    if not defects:
        defects += _check_classes(card["classes"]) + _check_styles(card["default_styles"], card["sequences"])
        defects += _check_islands(card.get("islands"), len(card["classes"]))
        defects += _check_coherence(card.get("coherence"), len(card["classes"]))
        defects += _check_detail(card.get("detail"))
    defects += _check_told(card)
    if not _is_fast(card.get("fast")):
        rule = "must be an object with 'programs', a list of names, a 'sha256' and figures"
        defects.append(f"'fast' in {CARD_FILE} {rule}")
    return defects


_TOLD = ("description", "intended_use", "limitations", "quality_note", "citation")
"""Fields that a card need not have, and that panels show."""


def _check_told(card: dict[str, Any]) -> list[str]:
    """Defects of what is shown of a model: a panel that cannot show one of them would not open at all."""
    told = [(name, card.get(name, "")) for name in _TOLD]
    told += [("license.text", card["license"].get("text", ""))] if isinstance(card.get("license"), dict) else []
    defects = [f"'{name}' in {CARD_FILE} must be a text" for name, value in told if not isinstance(value, str)]
    weights = card.get("weights")
    if isinstance(weights, dict) and not _is_int(weights.get("bytes", 0), 0, 1 << 50):
        defects.append(f"'weights.bytes' in {CARD_FILE} must be a whole number")
    if not _is_quality(card.get("quality", {})):
        rule = "must be an object of measurements, their Dice and imputation figures numbers"
        defects.append(f"'quality' in {CARD_FILE} {rule}")
    elif not _is_targets(card.get("quality", {}).get("targets", [])):
        rule = "must be a list of objects of three texts, 'what', 'wanted' and 'on', a number 'measured' and 'met'"
        defects.append(f"'quality.targets' in {CARD_FILE} {rule}")
    return defects


def _is_quality(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    measurements = [one for one in value.values() if isinstance(one, dict)]
    return all(_is_figures(one[kind]) for one in measurements for kind in ("dice", "imputation") if kind in one)


def _is_targets(value: object) -> bool:
    """Whether it tells of each target what it is, what was wanted, measured, on what, and if it was met."""
    if not isinstance(value, list) or not all(isinstance(target, dict) for target in value):
        return False
    told = all(_is_text(target.get(key)) for target in value for key in ("what", "wanted", "on"))
    return told and all(_is_number(t.get("measured")) and isinstance(t.get("met"), bool) for t in value)


def targets_of(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the model was to reach, met or missed, each with "what", "wanted" ("> 0.8"), "measured" (a number), "on"
    (which studies) and "met"; none where the card tells none."""
    return list((card.get("quality") or {}).get("targets", []))


def _is_figures(value: object) -> bool:
    """Whether these are numbers by name, by subset or sequence."""
    if not isinstance(value, dict) or not all(isinstance(figures, dict) for figures in value.values()):
        return False
    return all(_is_number(figure) for figures in value.values() for figure in figures.values())


def _is_fast(value: object) -> bool:
    """Whether it may describe the programs of the fast mode; a model need not have one."""
    if value is None:
        return True
    if not isinstance(value, dict) or not isinstance(value.get("programs"), list) or not value["programs"]:
        return False
    if not (all(_is_text(name) for name in value["programs"]) and _is_sha256(value.get("sha256"))):
        return False
    measured = value.get("measured") or {"times_torch": 1.0, "dice": {"loss": 0.0}, "psnr": {"loss": 0.0}}
    if not isinstance(measured, dict) or not _is_number(measured.get("times_torch")):
        return False
    losses = (measured.get(kind) for kind in ("dice", "psnr"))
    return all(isinstance(loss, dict) and _is_number(loss.get("loss")) for loss in losses)


def _check_classes(classes: list[Any]) -> list[str]:
    defects = []
    for index, entry in enumerate(classes):
        where = f"class {index} in {CARD_FILE}"
        if not isinstance(entry, dict):
            defects.append(f"{where} must be an object")
            continue
        if not _is_int(entry.get("value"), index, index):
            defects.append(f"{where} must have the value {index}")
        if not _is_text(entry.get("name")):
            defects.append(f"{where} must have a name")
        if not _is_color(entry.get("color")):
            defects.append(f"{where} must have a color of three numbers from 0 to 255")
        if not _is_terminology(entry.get("terminology")):
            defects.append(f"{where} must have a terminology of category and type codes, or null")
    return defects


def _check_styles(styles: dict[str, Any], sequences: list[str]) -> list[str]:
    defects = []
    for name, vector in styles.items():
        if name not in sequences and name not in SEQUENCES:  # a target need not be an input
            defects.append(f"'default_styles' names {name}, which is no sequence")
        elif not isinstance(vector, list) or not vector or not all(_is_number(v) for v in vector):
            defects.append(f"the default style of {name} must be a list of numbers")
    return defects


def _check_islands(rule: object, classes: int) -> list[str]:
    """The optional rule on small pieces of a finding, see :class:`..inference.islands.Islands`."""
    if rule is None:
        return []
    if not isinstance(rule, dict):
        return [f"'islands' in {CARD_FILE} must be an object with 'classes', 'share' and 'ml'"]
    defects = _check_finding("islands", rule, classes)
    if not _is_number(rule.get("share")) or not 0 <= rule["share"] < 1:
        defects.append(f"'islands.share' in {CARD_FILE} must be a number from 0 to below 1")
    if not _is_number(rule.get("ml")) or rule["ml"] < 0:
        defects.append(f"'islands.ml' in {CARD_FILE} must be a number of millilitres from 0")
    return defects


def _check_coherence(rule: object, classes: int) -> list[str]:
    """The optional rule on classes that are decided together, see :class:`..inference.coherence.Coherence`."""
    if rule is None:
        return []
    if not isinstance(rule, dict):
        return [f"'coherence' in {CARD_FILE} must be an object with 'classes' and 'sigma_mm'"]
    defects = _check_finding("coherence", rule, classes)
    if not _is_number(rule.get("sigma_mm")) or not 0 < rule["sigma_mm"] <= 10:
        defects.append(f"'coherence.sigma_mm' in {CARD_FILE} must be a number of millimetres above 0, up to 10")
    return defects


def _check_detail(rule: object) -> list[str]:
    """The optional rule on the finest structures of synthesised images, see :class:`..inference.detail.Detail`."""
    if rule is None:
        return []
    if not isinstance(rule, dict):
        return [f"'detail' in {CARD_FILE} must be an object with 'sigma_mm' and 'epsilon'"]
    defects = []
    if not _is_number(rule.get("sigma_mm")) or not 0 < rule["sigma_mm"] <= 10:
        defects.append(f"'detail.sigma_mm' in {CARD_FILE} must be a number of millimetres above 0, up to 10")
    if not _is_number(rule.get("epsilon")) or not 0 < rule["epsilon"] <= 1:
        defects.append(f"'detail.epsilon' in {CARD_FILE} must be a number above 0, up to 1")
    shares = rule.get("tissue_share", {})
    if not isinstance(shares, dict) or not all(_is_number(share) and 0 <= share <= 1 for share in shares.values()):
        defects.append(f"'detail.tissue_share' in {CARD_FILE} must give sequences a number from 0 to 1")
    return defects


def _check_finding(name: str, rule: dict[str, Any], classes: int) -> list[str]:
    """The classes that a rule is about."""
    values = rule.get("classes")
    if not isinstance(values, list) or not values or not all(_is_int(v, 1, classes - 1) for v in values):
        return [f"'{name}.classes' in {CARD_FILE} must list values of classes other than the background"]
    return []
