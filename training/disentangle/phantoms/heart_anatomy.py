"""The shape of a digital heart in its own frame, at any phase of the cardiac cycle.

The frame follows the short axis: u to the image's right (lateral wall), v down (inferior wall), w from the base (0)
to the apex, in mm about the long axis of the left ventricle; angles run from u towards v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .randomness import sigmoid
from .shapes import Field, Fields, Layers, edge, ellipsoid, warped

_TERRITORIES = {"anterior": -110.0, "lateral": 15.0, "inferior": 95.0}
"""Coronary territories and the angle of their middle: LAD, LCX, RCA."""


@dataclass(frozen=True, eq=False)
class Heart:
    """A person's heart at end diastole.

    Attributes:
        shape: lengths in mm and factors.
        papillary: of each muscle: angle in degrees, radius, first and last w as share of the length.
        infarct: None, or territory, angle and half width in degrees, middle and half length along w, transmurality
            (share of the wall) and the share of it without perfusion.
        waves, patches, grain: random fields.
    """

    shape: dict[str, float]
    papillary: tuple[tuple[float, float, float, float], ...]
    infarct: dict[str, Any] | None
    waves: tuple[Field, Field, Field]
    patches: Field
    grain: Field

    @classmethod
    def draw(cls, rng: np.random.Generator, infarct: float) -> Heart:
        """A random heart, with an infarct with the probability ``infarct``."""

        def u(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        shape = {
            "length": float(np.clip(rng.normal(88, 6), 74, 104)),
            "cavity": float(np.clip(rng.normal(24, 2.5), 21, 31)),
            "wall": float(np.clip(rng.normal(9.3, 1.0), 7, 12.5)),
            "oval": u(0.0, 0.06),
            "oval_at": u(0, 180),
            "rv_width": u(17, 26),
            "rv_height": u(37, 45),
            "rv_length": u(0.78, 0.9),
            "rv_wall": u(2.5, 3.8),
            "fat": u(2, 6),
            "turn": float(rng.normal(0, 8)),
        }
        papillary = tuple(
            (angle + float(rng.normal(0, 12)), u(3.2, 5.0), u(0.22, 0.32), u(0.6, 0.75)) for angle in (10.0, 122.0)
        )
        chance, territory = rng.random(), str(rng.choice(list(_TERRITORIES)))
        scar = {
            "territory": territory,
            "angle": _TERRITORIES[territory] + float(rng.normal(0, 15)),
            "half_width": u(25, 55),
            "middle": u(0.35, 0.75) * shape["length"],
            "half_length": u(14, 32),
            "transmurality": u(0.35, 1.1),
            "obstruction": u(0.3, 0.6) if rng.random() < 0.35 else 0.0,
        }
        fields = Fields(rng, (-90.0, -90.0, -60.0), (90.0, 90.0, 130.0))
        waves = (fields.draw(28.0), fields.draw(28.0), fields.draw(28.0))
        patches, grain = fields.draw(10.0), fields.draw(4.5)
        return cls(shape, papillary, scar if chance < infarct else None, waves, patches, grain)

    def paint(self, layers: Layers, points: np.ndarray, contraction: float = 0.0) -> None:
        """Paint the heart over what lies around it.

        Args:
            points: (3, ...) of (u, v, w).
            contraction: 0 at end diastole, 1 at end systole: cavities shrink, the wall thickens, the base descends.
        """
        shape = self.shape
        near = points
        angle = np.deg2rad(shape["turn"])
        u, v, w = warped(near, self.waves, 1.3)
        u, v = np.cos(angle) * u + np.sin(angle) * v, -np.sin(angle) * u + np.cos(angle) * v
        patches, grain = self.patches(near), self.grain(near)
        radius, theta = np.hypot(u, v), np.arctan2(v, u)
        oval = 1 + shape["oval"] * np.cos(2 * theta - np.deg2rad(shape["oval_at"]))

        base = 11.0 * contraction
        length = shape["length"] - 2 * contraction
        along = np.clip((w - base) / (length - base), -0.4, 1.2)
        widest = 1 - 0.07 * np.exp(-np.clip(along, 0, 2) / 0.12)
        inner_along = along * length / (length - 0.75 * shape["wall"])
        cavity = shape["cavity"] * (1 - 0.3 * contraction)
        outer = (shape["cavity"] + shape["wall"]) * (1 - 0.05 * contraction)
        outside = _profile(along) * widest * outer * oval
        inside = _profile(inner_along) * widest * cavity * oval
        endocardium = inside - radius + 0.6 * grain
        epicardium = outside - radius + 0.4 * patches
        ventricle = edge(w - base, 1.2)

        right = self._right_ventricle(u, v, w, base, outside, contraction)
        whole = np.maximum(epicardium - 99 * (1 - ventricle), right + shape["rv_wall"])
        layers.paint("fat", edge(np.minimum(whole + shape["fat"] * (1 + 0.7 * patches), 25 + w), 1.0))
        self._above(layers, u, v, w, base)
        layers.paint("muscle", edge(right + shape["rv_wall"]))
        layers.paint("right ventricle", edge(right + 0.8 * grain))
        layers.paint("myocardium", edge(epicardium) * ventricle)
        self._infarct(layers, theta, w, inside, outside, radius, patches, edge(epicardium) * ventricle)
        layers.paint("left ventricle", edge(endocardium) * ventricle)
        for muscle in self.papillary:
            layers.paint("papillary", self._papillary(muscle, u, v, w, cavity) * edge(endocardium + 1) * ventricle)

    def _right_ventricle(
        self, u: np.ndarray, v: np.ndarray, w: np.ndarray, base: float, outside: np.ndarray, contraction: float
    ) -> np.ndarray:
        """Depth in the right ventricle: a crescent around the septum."""
        shape = self.shape
        share = _profile(np.clip((w - base) / (shape["rv_length"] * shape["length"] - base), -0.4, 1.2))
        squeeze = 1 - 0.28 * contraction
        reach = outside * 0.3 + shape["rv_width"] * share * squeeze
        centre_u, centre_v = -0.72 * outside, -4 - 5 * (1 - np.clip(w / 40, -0.3, 1))
        radii_v = shape["rv_height"] * share * (1 - 0.1 * contraction)
        relative = np.hypot((u - centre_u) / np.maximum(reach, 1), (v - centre_v) / np.maximum(radii_v, 1))
        depth = (1 - relative) * np.maximum(np.minimum(reach, radii_v), 1) - 99 * (share < 0.05)
        return np.minimum(depth, w + 24)

    def _above(self, layers: Layers, u: np.ndarray, v: np.ndarray, w: np.ndarray, base: float) -> None:
        """Atria and the root of the aorta, above the base."""
        left = ellipsoid((u, v, w), (8, 12, base - 22), (29, 25, 24))
        layers.paint("muscle", edge(left + 1.5) * edge(base + 4 - w))
        layers.paint("blood", edge(left) * edge(base + 4 - w))
        root = 14.0 - np.hypot(u + 6, v + 10 - 0.3 * (base - w))
        layers.paint("muscle", edge(np.minimum(root + 1.8, base + 1 - w)))
        layers.paint("blood", edge(np.minimum(root, base + 1 - w)))

    def _papillary(
        self,
        muscle: tuple[float, float, float, float],
        u: np.ndarray,
        v: np.ndarray,
        w: np.ndarray,
        cavity: float,
    ) -> np.ndarray:
        angle, thickness, first, last = muscle
        length = self.shape["length"]
        along = (w / length - first) / (last - first)
        # From the wall near the apex it leans into the cavity towards the valve.
        distance = cavity * (0.66 + 0.12 * along) * np.clip(_profile(np.clip(w / length, 0, 1)), 0.3, 1)
        at = np.deg2rad(angle)
        gap = np.hypot(u - distance * np.cos(at), v - distance * np.sin(at))
        size = thickness * np.clip(1.25 - 1.1 * (2 * np.clip(along, 0, 1) - 1) ** 4, 0, 1)
        return edge(size - gap) * edge((0.5 - np.abs(along - 0.5)) * (last - first) * length, 1.0)

    def _infarct(
        self,
        layers: Layers,
        theta: np.ndarray,
        w: np.ndarray,
        inside: np.ndarray,
        outside: np.ndarray,
        radius: np.ndarray,
        patches: np.ndarray,
        wall: np.ndarray,
    ) -> None:
        scar = self.infarct
        if scar is None:
            return
        turned = np.abs((theta - np.deg2rad(scar["angle"]) + np.pi) % (2 * np.pi) - np.pi)
        off = np.hypot(turned / np.deg2rad(scar["half_width"]), (w - scar["middle"]) / scar["half_length"])
        depth = np.clip((radius - inside) / np.maximum(outside - inside, 1.0), 0, 1.5)
        # The core reaches furthest through the wall; towards its borders only the subendocardium is lost.
        reach = scar["transmurality"] * np.sqrt(np.clip(1 - off**2, 0, 1)) * (1 + 0.25 * patches)
        share = sigmoid((reach - depth) / 0.08) * sigmoid((1 - off) / 0.1)
        layers.paint("infarct", share * wall)
        if scar["obstruction"]:
            core = sigmoid((scar["obstruction"] - off) / 0.08) * sigmoid((0.7 * reach - depth) / 0.08)
            layers.paint("obstruction", core * sigmoid((depth - 0.1) / 0.05) * wall)


def _profile(along: np.ndarray) -> np.ndarray:
    """Radius of a ventricle relative to its widest, from the base (0) to the apex (1)."""
    return np.sqrt(np.clip(1 - np.clip(along, 0, 1.2) ** 2.4, 0, 1))
