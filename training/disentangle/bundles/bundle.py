"""One bundle: reading, checking, building its system, writing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..study import write_atomically
from . import licenses, weights
from .card import CARD_FILE, FAST_FILE, FORMAT, WEIGHTS_FILE, ClassInfo, check_card, default_class, read_card

if TYPE_CHECKING:
    from ..systems.base import System


_LARGEST_SETTING = 65536
"""Shapes need no memory on the meta device, but a list of parts does: a billion experts of a convolution took 21 GB."""


@dataclass(frozen=True)
class Bundle:
    """A learned model on disk. Loading reads the card only; :meth:`system` checks and loads the weights.

    Attributes:
        path: the folder.
        card: content of ``bundle.json``, checked.
    """

    path: Path
    card: dict[str, Any]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read the card of a bundle folder.

        Raises:
            InputError: no bundle, or a defect in its card.
        """
        folder = Path(path)
        # Absolute: a relative path of one part would be taken for a name, and is lost in another working directory.
        return cls(folder.absolute(), read_card(folder))

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def version(self) -> str:
        return self.card["version"]

    @property
    def checksum(self) -> str:
        """SHA-256 of the weights, as the card states it."""
        return self.card["weights"]["sha256"]

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences that the model reads."""
        return tuple(self.card["sequences"])

    @property
    def targets(self) -> tuple[str, ...]:
        """Sequences that the model can synthesise: those with a default style."""
        styles = self.card["default_styles"]
        return tuple(n for n in dict.fromkeys((*self.card["sequences"], *styles)) if n in styles)

    @property
    def classes(self) -> list[ClassInfo]:
        """Classes of the segmentation in the order of their values; empty where the model does not segment."""
        return [ClassInfo(c["value"], c["name"], tuple(c["color"]), c.get("terminology")) for c in self.card["classes"]]

    @property
    def preprocessing(self) -> dict[str, Any]:
        """For ``PreprocessingConfig.from_dict``."""
        return self.card["preprocessing"]

    @property
    def fast(self) -> dict[str, Any] | None:
        """What the card says of the fast mode: the ``programs`` in 8-bit integers, their ``sha256``, what was
        ``measured`` of their loss and gain; None where the model has none."""
        return self.card.get("fast")

    def fast_programs(self) -> Path:
        """The file of the fast mode's programs, if it is that of the card.

        Raises:
            InputError: it is missing, damaged or was changed.
        """
        path = self.path / FAST_FILE
        if _sha256(path) != self.fast["sha256"]:
            raise InputError(
                f"The programs of the fast mode of the model {self.name} do not have the checksum in its card: the "
                "file is damaged or was changed; get the model again."
            )
        return path

    @property
    def is_demonstration(self) -> bool:
        """Whether the card says that the model only shows how things work."""
        return str(self.card.get("description", "")).lower().startswith("demonstration")

    @property
    def license(self) -> dict[str, Any]:
        """``name``, ``permissive`` and, where there is one, ``text``."""
        return self.card["license"]

    @property
    def needs_agreement(self) -> bool:
        """Whether the user has yet to agree to the licence before the model runs."""
        return not self.license["permissive"] and not licenses.has_agreed(_agreements(), self.card)

    def agree(self) -> None:
        """Record that the user agreed to the licence.

        Raises:
            InputError: the agreement cannot be stored.
        """
        licenses.agree(_agreements(), self.card)

    def revoke(self) -> None:
        """Take the agreement to the licence back.

        Raises:
            InputError: that cannot be stored.
        """
        licenses.revoke(_agreements(), self.card)

    def verify(self) -> None:
        """Check the weights against the card and the system, building nothing but an empty system.

        Raises:
            InputError: the first defect: a file is missing or damaged, the checksum differs, the system is unknown,
                names or shapes of tensors differ, or card and system disagree.
        """
        self._check_weights()
        if self.fast is not None:
            self.fast_programs()

    def system(self, device: Any = "cpu") -> System:
        """The system, in evaluation mode, with its weights, on ``device``.

        Raises:
            LicenseError: the licence has not been agreed to.
            InputError: see :meth:`verify`.
        """
        self._check_agreed()
        self._check_weights()
        system = self._build()
        weights.load(system, self.path / WEIGHTS_FILE)
        return system.to(device).eval().requires_grad_(False)

    def check_ready(self) -> None:
        """Check, without building anything, that the model may run and that its weights are those of its card.

        Raises:
            LicenseError: the licence has not been agreed to.
            InputError: the weights are missing, damaged or changed.
        """
        self._check_agreed()
        self._checked_header()

    def _check_agreed(self) -> None:
        if self.needs_agreement:
            raise licenses.LicenseError(
                f"The model {self.name} comes under {self.license['name']}, which is not a permissive licence; read it "
                f"with 'disentangle models show {self.name}' and agree to it (--accept-license) to use the model."
            )

    def left_out(self, system: System) -> set[str]:
        """Tensors of the bundle's system that are not in its weights: those of discriminators."""
        return set(system.state_dict()) - set(weights.read_header(self.path / WEIGHTS_FILE))

    def _checked_header(self) -> dict[str, weights.TensorInfo]:
        """The tensors in the weights, once their checksum is that of the card."""
        path = self.path / WEIGHTS_FILE
        checksum = _sha256(path)
        found = weights.read_header(path)
        if checksum != self.checksum:
            raise InputError(
                f"The weights of the model {self.name} do not have the checksum in its card: the file is damaged or "
                "was changed; get the model again."
            )
        return found

    def _check_weights(self) -> None:
        found = self._checked_header()
        import torch

        from ..networks.judge import training_only

        with torch.device("meta"):  # shapes without memory, so that a wrong configuration cannot exhaust it
            expected = self._build()
        wanted = {name: tuple(tensor.shape) for name, tensor in expected.state_dict().items()}
        difference = weights.compare(found, wanted, training_only(expected))
        if difference is None:
            difference = _disagreement(self.card, expected)
        if difference is not None:
            raise InputError(f"The model {self.name} cannot be used: {difference}; get it again or export it anew.")

    def _build(self) -> System:
        from ..registry import create

        name, config = self.card["system"]["name"], self.card["system"]["config"]
        if _exceeds(config, _LARGEST_SETTING):
            raise InputError(
                f"The model {self.name} cannot be used: its configuration has a number above {_LARGEST_SETTING}, which "
                "no network needs; get the model again."
            )
        try:
            return create(name, **config)
        except Exception as error:  # whatever a wrong configuration raises in a constructor
            raise InputError(
                f"The model {self.name} cannot be used: the system '{name}' does not accept its configuration "
                f"({error}); get the model again or update Disentangle."
            ) from error


def _exceeds(value: Any, limit: float) -> bool:
    """Whether a number anywhere in a configuration is larger than that, in magnitude, or is none (NaN)."""
    if isinstance(value, dict):
        return any(_exceeds(v, limit) for v in value.values())
    if isinstance(value, (list, tuple)):
        return any(_exceeds(v, limit) for v in value)
    return isinstance(value, (int, float)) and not abs(value) <= limit


def _sha256(path: Path) -> str:
    try:
        return weights.sha256_of(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); get the model again.") from error


def _agreements() -> Path:
    from .store import user_folder

    return user_folder() / "licenses.json"


def _disagreement(card: dict[str, Any], system: System) -> str | None:
    """How the card differs from what its system says of itself."""
    abilities = system.capabilities
    if set(card["sequences"]) != set(abilities.sequences):
        stated, real = ", ".join(card["sequences"]), ", ".join(abilities.sequences)
        return f"its card lists the sequences {stated}, its system {real}"
    if len(card["classes"]) != len(abilities.classes):
        return f"its card lists {len(card['classes'])} classes, its system {len(abilities.classes)}"
    for name, vector in card["default_styles"].items():
        if name not in abilities.known:
            return f"its card has a default style of {name}, which its system does not know"
        if len(vector) != abilities.style_dim:
            return f"the default style of {name} has {len(vector)} numbers instead of {abilities.style_dim}"
    return None


def verify_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Load a bundle and check everything about it.

    Raises:
        InputError: the first defect.
    """
    bundle = Bundle.load(path)
    bundle.verify()
    return bundle


def write_bundle(folder: str | os.PathLike[str], system: System, card: dict[str, Any], half: bool = True) -> Bundle:
    """Write a system as a bundle; the folder is there completely or not at all.

    Args:
        folder: the bundle's folder; one that exists is replaced.
        system: its weights (without those of its discriminators), configuration and default styles are stored.
        card: at least ``name`` and ``license`` ({"name", "permissive"}). Filled in where missing: ``format``,
            ``version``, ``sequences``, ``classes`` (with colours and terminology), ``preprocessing``. Always written
            from the system: ``system``, ``default_styles``, ``weights``. Everything else is kept as it is, but for
            ``fast``, which belongs to other weights (:func:`add_fast_mode`).
        half: store kernels and matrices in half precision.

    Raises:
        InputError: the card has a defect or disagrees with the system, or the folder cannot be written.
    """
    abilities = system.capabilities
    full = {
        "format": FORMAT,
        "version": "0.1.0",
        "sequences": list(abilities.sequences),
        "classes": [default_class(value, name).to_dict() for value, name in enumerate(abilities.classes)],
        "preprocessing": {},
        **card,
        "system": {"name": system.name, "config": system.config},
        "default_styles": {name: _style(system, name) for name in abilities.targets},
    }
    folder = Path(folder)
    full.pop("fast", None)  # it was made of other weights
    with write_atomically(folder) as temporary:
        temporary.mkdir()
        target = temporary / WEIGHTS_FILE
        weights.save(system, target, half)
        full["weights"] = {"sha256": weights.sha256_of(target), "bytes": target.stat().st_size, "half": half}
        text = json.dumps(full, indent=2, allow_nan=False)
        full = json.loads(text)  # tuples become lists, as a reader will see them
        defects = check_card(full)
        if defects:
            raise InputError(f"The bundle {folder.name} cannot be written: {defects[0]}; correct the card.")
        difference = _disagreement(full, system)
        if difference is not None:
            raise InputError(f"The bundle {folder.name} cannot be written: {difference}; correct the card.")
        (temporary / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    return Bundle.load(folder)


def add_fast_mode(bundle: Bundle, archive: bytes, about: dict[str, Any]) -> Bundle:
    """Give a bundle programs in 8-bit integers, or others for those it has.

    Args:
        bundle: the bundle.
        archive: a zip of OpenVINO's programs, ``NAME.xml`` and ``NAME.bin`` each.
        about: ``programs``, their names, and what was ``measured``.

    Raises:
        InputError: the bundle cannot be written.
    """
    with write_atomically(bundle.path / FAST_FILE) as temporary:
        temporary.write_bytes(archive)
        checksum = weights.sha256_of(temporary)
    card = {**bundle.card, "fast": {**about, "sha256": checksum, "bytes": len(archive)}}
    with write_atomically(bundle.path / CARD_FILE) as temporary:
        temporary.write_text(json.dumps(card, indent=2, allow_nan=False, ensure_ascii=True) + "\n", encoding="utf-8")
    return Bundle.load(bundle.path)


def _style(system: System, sequence: str) -> list[float]:
    return [round(float(v), 6) for v in system.default_style(sequence).detach().cpu().flatten()]
