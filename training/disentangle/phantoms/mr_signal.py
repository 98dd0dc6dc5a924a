"""MR signal equations and relaxation times: from tissue fractions to the intensities of a sequence.

Relaxation times are rounded from the ranges in Stanisz et al., MRM 54 (2005), Wansapura et al., JMRI 9 (1999) and
Bojorquez et al., MRI 35 (2017); those of lesions and tumours from relaxometry reviews, widened by the random draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Relaxation:
    """MR properties of a tissue.

    Attributes:
        t1, t2: ms.
        pd: proton density relative to water.
        gd: concentration of contrast agent after injection in mmol/l.
        saturation: share of the signal left by magnetisation transfer in fast spin echo.
        flow: share of the signal left by flow in spin echo (0 is a flow void).
    """

    t1: float
    t2: float
    pd: float
    gd: float = 0.0
    saturation: float = 1.0
    flow: float = 1.0


# name: (T1 at 1.5 T, T1 at 3 T, T2 at 1.5 T, T2 at 3 T, PD, mmol/l Gd, saturation, flow)
_TABLE = {
    "csf": (4000, 4200, 1500, 1300, 1.00, 0.0, 1.0, 0.88),
    "gm": (1000, 1300, 91, 86, 0.82, 0.02, 0.97, 1.0),
    "deep_gm": (860, 1100, 81, 73, 0.78, 0.02, 0.95, 1.0),
    "pallidum": (760, 980, 66, 57, 0.74, 0.02, 0.93, 1.0),
    "wm": (640, 850, 80, 75, 0.71, 0.01, 0.94, 1.0),
    "lesion": (1130, 1380, 132, 123, 0.84, 0.02, 0.97, 1.0),
    "edema": (1080, 1340, 124, 116, 0.84, 0.03, 0.98, 1.0),
    "necrosis": (1900, 2200, 240, 215, 0.92, 0.05, 1.0, 1.0),
    "nonenhancing": (1230, 1500, 142, 132, 0.86, 0.04, 0.98, 1.0),
    "enhancing": (1100, 1350, 118, 109, 0.84, 0.5, 0.97, 1.0),
    "vessel": (1450, 1700, 180, 120, 0.85, 1.6, 1.0, 0.25),
    "dura": (900, 1050, 60, 50, 0.70, 0.5, 0.85, 1.0),
    "choroid": (1250, 1500, 160, 140, 0.88, 0.9, 0.98, 0.9),
    "bone": (500, 600, 2, 2, 0.15, 0.0, 1.0, 1.0),
    "marrow": (380, 450, 65, 60, 0.60, 0.03, 0.95, 1.0),
    "scalp": (300, 360, 75, 70, 0.85, 0.05, 0.95, 1.0),
    "muscle": (950, 1250, 42, 38, 0.75, 0.1, 0.8, 1.0),
}
TISSUES = tuple(_TABLE)
"""Every tissue that a head phantom may hold."""
HEALTHY_TISSUES = ("csf", "gm", "deep_gm", "pallidum", "wm", "dura")
"""Tissues that differ little between people."""

_R1_PER_MMOL = 0.0045
_R2_PER_MMOL = 0.0055
"""Relaxivity of gadolinium chelates in 1/(ms mmol/l)."""


def draw_relaxation(rng: np.random.Generator, field_tesla: float) -> dict[str, Relaxation]:
    """Relaxation times of one subject at 1.5 or 3 T, varied as between people (healthy) and lesions (more)."""
    weight = (field_tesla - 1.5) / 1.5
    common = rng.normal(0, 0.03, 2)
    result = {}
    for name, (low1, high1, low2, high2, pd, gd, saturation, flow) in _TABLE.items():
        # More water lengthens both times of diseased tissue, which keeps it bright on T2 and FLAIR.
        water = rng.normal(0, 0.1) * np.array([0.7, 1.0])
        own = rng.normal(0, 0.02, 2)
        dt1, dt2 = own + (common if name in HEALTHY_TISSUES else water)
        result[name] = Relaxation(
            t1=float((low1 + weight * (high1 - low1)) * np.exp(dt1)),
            t2=float((low2 + weight * (high2 - low2)) * np.exp(dt2)),
            pd=float(np.clip(pd * np.exp(rng.normal(0, 0.01)), 0.02, 1)),
            gd=float(gd * np.exp(rng.normal(0, 0.35))),
            saturation=float(min(saturation + rng.normal(0, 0.02), 1)),
            flow=float(np.clip(flow + rng.normal(0, 0.05), 0.02, 1)),
        )
    # Proteins shorten T1 of some necroses, which then stay bright on FLAIR.
    if rng.random() < 0.5:
        necrosis = result["necrosis"]
        result["necrosis"] = replace(necrosis, t1=necrosis.t1 * float(rng.uniform(0.6, 0.9)))
    return result


def enhanced(tissue: Relaxation) -> Relaxation:
    """The tissue after contrast agent: 1/T1 and 1/T2 rise with the concentration."""
    return replace(
        tissue,
        t1=1 / (1 / tissue.t1 + _R1_PER_MMOL * tissue.gd),
        t2=1 / (1 / tissue.t2 + _R2_PER_MMOL * tissue.gd),
    )


def spin_echo(t1, t2, pd, tr: float, te: float):
    """Spin echo: PD (1 - exp(-TR/T1)) exp(-TE/T2), times in ms."""
    return pd * (1 - np.exp(-tr / t1)) * np.exp(-te / t2)


def inversion_recovery(t1, t2, pd, tr: float, te: float, ti: float):
    """Magnitude of inversion-recovery spin echo: PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)."""
    return pd * np.abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1)) * np.exp(-te / t2)


def spoiled_gradient_echo(t1, t2star, pd, tr: float, te: float, flip_deg: float):
    """Spoiled gradient echo at steady state (Ernst): PD sin a (1 - E1) / (1 - E1 cos a) exp(-TE/T2*)."""
    e1, angle = np.exp(-tr / t1), np.deg2rad(flip_deg)
    return pd * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)) * np.exp(-te / t2star)


def prepared_gradient_echo(t1, t2star, pd, cycle: float, te: float, ti: float):
    """Magnitude of an inversion-prepared gradient echo (MPRAGE) at small flip angles, inverted every ``cycle`` ms."""
    return pd * np.abs(1 - 2 * np.exp(-ti / t1) / (1 + np.exp(-cycle / t1))) * np.exp(-te / t2star)


def draw_protocol(rng: np.random.Generator, sequence: str, field_tesla: float) -> dict:
    """Random acquisition parameters of a sequence: {"method": ..., "tr": ..., "te": ..., ...} in ms and degrees.

    Raises:
        InputError: brain phantoms do not know the sequence.
    """

    def u(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    if sequence in ("T1", "T1Gd"):
        method = str(rng.choice(["spin_echo", "prepared_gradient_echo", "spoiled_gradient_echo"], p=[0.45, 0.35, 0.2]))
        if method == "spin_echo":
            return {"method": method, "tr": u(420, 720), "te": u(7, 18)}
        if method == "prepared_gradient_echo":
            return {"method": method, "cycle": u(1700, 2500), "te": u(2, 5), "ti": u(850, 1100)}
        return {"method": method, "tr": u(9, 28), "te": u(2, 6), "flip_deg": u(20, 32)}
    if sequence == "T2":
        return {"method": "spin_echo", "tr": u(2800, 7000), "te": u(78, 120)}
    if sequence == "PD":
        return {"method": "spin_echo", "tr": u(2200, 3800) * (0.75 + field_tesla / 6), "te": u(9, 30)}
    if sequence == "FLAIR":
        tr = u(6000, 11000)
        # The inversion time that nulls fluid of T1 = 4.1 s, missed by a little.
        ti = float(4100 * np.log(2 / (1 + np.exp(-tr / 4100))) * u(0.93, 1.05))
        return {"method": "inversion_recovery", "tr": tr, "te": u(85, 140), "ti": ti}
    raise InputError(f"Brain phantoms cannot imitate {sequence}; choose among T1, T1Gd, T2, FLAIR and PD.")


def tissue_signal(tissue: Relaxation, protocol: Mapping, contrast_agent: bool) -> float:
    """Signal of pure tissue under a protocol of :func:`draw_protocol`."""
    if contrast_agent:
        tissue = enhanced(tissue)
    times = {k: v for k, v in protocol.items() if k != "method"}
    method = protocol["method"]
    if method in ("spin_echo", "inversion_recovery"):
        equation = spin_echo if method == "spin_echo" else inversion_recovery
        # Flow voids fill with contrast agent on T1; long echoes stay dark.
        flow = max(tissue.flow, 0.75) if contrast_agent else tissue.flow
        saturation = tissue.saturation if protocol["te"] > 50 else 1.0
        return float(equation(tissue.t1, tissue.t2, tissue.pd, **times) * flow * saturation)
    equation = prepared_gradient_echo if method == "prepared_gradient_echo" else spoiled_gradient_echo
    return float(equation(tissue.t1, 0.7 * tissue.t2, tissue.pd, **times))


def mixed_signal(
    fractions: np.ndarray,
    tissues: list[Relaxation],
    protocol: Mapping,
    contrast_agent: bool,
    texture: np.ndarray,
    jitter: np.ndarray,
) -> np.ndarray:
    """Signal of voxels that hold several tissues, with local variation of T1, T2 and PD.

    Args:
        fractions: (T, N) tissue fractions.
        tissues: T relaxation sets.
        texture: (3, N) relative local change of T1, T2 and PD, acting to first order.
        jitter: (T,) factors on the pure signals, what physics does not say.

    Returns:
        (N,) float32 signal, not negative.
    """
    step = 0.02
    pure = np.array([tissue_signal(t, protocol, contrast_agent) for t in tissues])
    weights = [pure]
    for name in ("t1", "t2", "pd"):
        changed = [replace(t, **{name: getattr(t, name) * (1 + step)}) for t in tissues]
        weights.append((np.array([tissue_signal(t, protocol, contrast_agent) for t in changed]) - pure) / step)
    mixed = (np.stack(weights) * jitter).astype(np.float32) @ fractions
    return np.maximum(mixed[0] + (mixed[1:] * texture).sum(axis=0), 0)
