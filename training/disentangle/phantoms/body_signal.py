"""Signal of heart, abdomen and trunk: relaxation times at 1.5 T, fat, contrast agent by phase, Hounsfield units.

Relaxation times are rounded from Stanisz et al., MRM 54 (2005), de Bazelaire et al., Radiology 230 (2004) and
Messroghli et al., JCMR (2004, myocardium after gadolinium); attenuation and enhancement from textbooks of abdominal
radiology. The random draws widen them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError

PHASES = ("T1arterial", "T1portal", "T1delayed")
"""Phases of a dynamic contrast series of the abdomen."""
CARDIAC = ("cine", "LGE", "BOLD")
ABDOMINAL = ("T1in", "T1out", "T2SPIR", "T1", *PHASES, "CT")

# name: (T1, T2, T2* in ms, proton density, share of fat in the signal, HU,
#        mmol/l Gd in T1arterial, T1portal, T1delayed, and late (LGE); HU gained in the portal phase)
_TABLE: dict[str, tuple[float, ...]] = {
    "air": (1000, 50, 20, 0.0, 0.0, -990, 0, 0, 0, 0, 0),
    "lung": (1100, 40, 2, 0.16, 0.0, -840, 0.2, 0.2, 0.2, 0.1, 10),
    "fat": (260, 85, 50, 0.82, 0.93, -105, 0, 0.02, 0.02, 0.02, 2),
    "skin": (700, 45, 25, 0.8, 0.1, 20, 0.1, 0.2, 0.2, 0.1, 15),
    "muscle": (980, 38, 28, 0.78, 0.03, 52, 0.08, 0.15, 0.2, 0.15, 12),
    "bone": (500, 25, 4, 0.18, 0.1, 620, 0, 0.02, 0.02, 0.02, 0),
    "marrow": (520, 65, 14, 0.62, 0.45, 170, 0.1, 0.2, 0.2, 0.1, 12),
    "disc": (1050, 95, 45, 0.8, 0.0, 80, 0, 0.02, 0.05, 0.05, 0),
    "cord": (900, 95, 60, 0.75, 0.0, 35, 0.05, 0.1, 0.1, 0.1, 5),
    "fluid": (3600, 900, 400, 1.0, 0.0, 6, 0, 0, 0.02, 0.02, 0),
    "bile": (2400, 500, 250, 0.97, 0.0, 8, 0, 0, 0.02, 0.02, 0),
    "gas": (1000, 50, 2, 0.02, 0.0, -960, 0, 0, 0, 0, 0),
    "chyme": (1300, 140, 35, 0.85, 0.12, 30, 0, 0, 0, 0, 0),
    "gut": (1000, 60, 30, 0.8, 0.04, 40, 0.4, 0.5, 0.4, 0.2, 45),
    "pancreas": (580, 58, 32, 0.8, 0.09, 42, 0.85, 0.5, 0.35, 0.2, 60),
    "liver": (590, 46, 26, 0.76, 0.05, 57, 0.12, 0.6, 0.42, 0.2, 55),
    "lesion": (1150, 110, 55, 0.85, 0.01, 38, 0.15, 0.2, 0.35, 0.25, 22),
    "cyst": (3200, 700, 300, 1.0, 0.0, 8, 0, 0, 0, 0, 0),
    "spleen": (1080, 82, 42, 0.83, 0.0, 50, 0.95, 0.65, 0.45, 0.25, 70),
    "kidney cortex": (960, 84, 48, 0.84, 0.02, 34, 1.6, 1.0, 0.75, 0.35, 150),
    "kidney medulla": (1400, 96, 52, 0.88, 0.01, 32, 0.3, 0.9, 0.85, 0.4, 125),
    "vein": (1450, 210, 110, 0.88, 0.0, 44, 0.3, 1.1, 0.75, 0.32, 115),
    "artery": (1450, 220, 130, 0.88, 0.0, 44, 2.6, 1.1, 0.75, 0.32, 120),
    "blood": (1450, 230, 110, 0.9, 0.0, 44, 2.0, 1.1, 0.8, 0.36, 110),
    "myocardium": (1000, 48, 33, 0.8, 0.01, 50, 0.9, 0.6, 0.45, 0.19, 55),
    "infarct": (1130, 58, 36, 0.82, 0.01, 48, 0.2, 0.4, 0.6, 0.72, 25),
    "obstruction": (1080, 50, 24, 0.8, 0.01, 50, 0.0, 0.05, 0.1, 0.05, 2),
}
_FLOW_VOID = {"artery": 0.12, "blood": 0.2, "vein": 0.7}
"""Share of the spin-echo signal that moving blood keeps."""
_R1_PER_MMOL = 0.0045
"""Relaxivity of gadolinium chelates in 1/(ms mmol/l)."""
_SAME = {
    "papillary": "myocardium",
    "left ventricle": "blood",
    "right ventricle": "blood",
    "liver vein": "vein",
    **{f"{side} {part}": part for side in ("right", "left") for part in ("kidney cortex", "kidney medulla")},
}
"""Tissues that are of one kind and differ as shapes only."""


@dataclass(frozen=True)
class BodyTissue:
    """What sequences see of a tissue.

    Attributes:
        t1, t2, t2star: ms, at 1.5 T without contrast agent.
        pd: proton density relative to water.
        fat: share of fat in the signal.
        hu: Hounsfield units without contrast agent.
        gd: sequence -> mmol/l of gadolinium chelate.
        hu_gain: Hounsfield units gained in the portal venous phase.
        flow: share of the spin-echo signal that moving blood keeps.
    """

    t1: float
    t2: float
    t2star: float
    pd: float
    fat: float
    hu: float
    gd: dict[str, float]
    hu_gain: float
    flow: float = 1.0


def draw_tissues(rng: np.random.Generator) -> dict[str, BodyTissue]:
    """The tissues of one person."""
    result = {}
    for name, (t1, t2, t2star, pd, fat, hu, arterial, portal, delayed, late, gain) in _TABLE.items():
        own = np.exp(rng.normal(0, 1, 7) * [0.05, 0.07, 0.1, 0.02, 0.12, 0.18, 0.15])
        gd = dict(zip(PHASES, np.array([arterial, portal, delayed]) * own[5], strict=True))
        # After ten minutes blood and tissue are in equilibrium: they vary together, with the dose.
        gd["LGE"] = late * own[5] ** 0.3
        shift = float(rng.normal(0, 4)) if abs(hu) < 200 else 0.0
        times = {"t1": t1 * own[0], "t2": t2 * own[1], "t2star": t2star * own[2]}
        result[name] = BodyTissue(
            **times,
            pd=pd * own[3],
            fat=min(fat * own[4], 0.97),
            hu=hu + shift,
            gd=gd,
            hu_gain=gain * own[6],
            flow=_FLOW_VOID.get(name, 1.0),
        )
    return result | {name: result[kind] for name, kind in _SAME.items()}


def balanced(t1, t2, pd, flip_deg: float):
    """Balanced steady state with TR << T2: PD sin a / (1 + cos a + (1 - cos a) T1 / T2)."""
    angle = np.deg2rad(flip_deg)
    return pd * np.sin(angle) / (1 + np.cos(angle) + (1 - np.cos(angle)) * t1 / t2)


def nulling_time(t1: float, tr: float) -> float:
    """Inversion time in ms at which a tissue of ``t1`` gives no signal: T1 ln(2 / (1 + exp(-TR / T1)))."""
    return float(t1 * np.log(2 / (1 + np.exp(-tr / t1))))


def after_contrast(t1: float, mmol: float) -> float:
    """T1 in ms with ``mmol`` mmol/l of gadolinium chelate."""
    return 1 / (1 / t1 + _R1_PER_MMOL * mmol)


def draw_body_protocol(
    rng: np.random.Generator, sequence: str, tissues: Mapping[str, BodyTissue], dark_blood: float = 0.0
) -> dict[str, Any]:
    """Random acquisition parameters of a sequence, times in ms.

    Args:
        tissues: of the person.
        dark_blood: probability that an LGE nulls blood in place of healthy myocardium.

    Raises:
        InputError: neither a cardiac nor an abdominal sequence.
    """

    def u(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    if sequence == "cine":
        return {"method": "balanced", "flip_deg": u(42, 65)}
    if sequence == "BOLD":
        return {"method": "prepared balanced", "flip_deg": u(55, 80), "te": u(22, 38)}
    if sequence == "LGE":
        tr = u(1300, 2000)
        nulled = "blood" if rng.random() < dark_blood else "myocardium"
        tissue = tissues[nulled]
        # The operator sets the time that nulls it, and misses it by a little; dark blood takes a scout in steps of
        # 10 ms, since myocardium is nulled soon after it.
        missed = u(0.95, 1.03) if nulled == "blood" else u(0.93, 1.08)
        ti = nulling_time(after_contrast(tissue.t1, tissue.gd["LGE"]), tr) * missed
        return {"method": "inversion recovery", "tr": tr, "ti": ti, "nulled": nulled, "fat_left": u(0.05, 0.25)}
    if sequence in ("T1in", "T1out"):
        return {
            "method": "dual echo",
            "tr": u(110, 200),
            "flip_deg": u(70, 90),
            "te": 4.6 if sequence == "T1in" else 2.3,
        }
    if sequence == "T2SPIR":
        return {"method": "spin echo", "tr": u(1600, 2800), "te": u(65, 95), "fat_left": u(0.05, 0.15)}
    if sequence == "T1" or sequence in PHASES:
        return {
            "method": "spoiled",
            "tr": u(3.6, 5.0),
            "te": u(1.2, 2.2),
            "flip_deg": u(10, 14),
            "fat_left": u(0.05, 0.2),
        }
    if sequence == "CT":
        enhanced = bool(rng.random() < 0.75)
        return {
            "method": "attenuation",
            "enhanced": enhanced,
            "kv": float(rng.choice([100, 120])),
            "gain": u(0.75, 1.1),
        }
    raise InputError(f"Bodies cannot be imitated in {sequence}; choose among {', '.join(CARDIAC + ABDOMINAL)}.")


def body_signal(tissue: BodyTissue, sequence: str, protocol: Mapping[str, Any]) -> float:
    """Signal of pure tissue, with its sign (inversion recovery and opposed phase take the magnitude of the mixture)."""
    method, t1 = protocol["method"], after_contrast(tissue.t1, tissue.gd.get(sequence, 0.0))
    if method == "attenuation":
        return tissue.hu + (protocol["gain"] * tissue.hu_gain if protocol["enhanced"] else 0.0)
    if method in ("balanced", "prepared balanced"):
        signal = balanced(t1, tissue.t2, tissue.pd, protocol["flip_deg"])
        return float(signal * np.exp(-protocol.get("te", 0.0) / tissue.t2star))
    if method == "inversion recovery":
        signal = tissue.pd * (1 - 2 * np.exp(-protocol["ti"] / t1) + np.exp(-protocol["tr"] / t1))
        return float(signal * (1 - tissue.fat * (1 - protocol["fat_left"])))
    if method == "spin echo":
        signal = tissue.pd * (1 - np.exp(-protocol["tr"] / t1)) * np.exp(-protocol["te"] / tissue.t2)
        return float(signal * tissue.flow * (1 - tissue.fat * (1 - protocol["fat_left"])))
    e1, angle = np.exp(-protocol["tr"] / t1), np.deg2rad(protocol["flip_deg"])
    signal = tissue.pd * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)) * np.exp(-protocol["te"] / tissue.t2star)
    if method == "dual echo":
        # Water and fat point the same way in phase and opposite ways out of phase.
        return float(signal * (1 - 2 * tissue.fat if sequence == "T1out" else 1.0))
    return float(signal * (1 - tissue.fat * (1 - protocol["fat_left"])))
