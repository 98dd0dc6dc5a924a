"""The trunk of a digital person: wall, spine, lungs, diaphragm and the organs of the upper abdomen.

Coordinates are LPS mm (x left, y posterior, z superior) about the middle of the trunk, z = 0 at the dome of the right
diaphragm at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .randomness import sigmoid
from .shapes import Field, Fields, Layers, edge, ellipsoid, joined, warped

KIDNEY = ("kidney cortex", "kidney medulla")
_LOW, _HIGH = (-230.0, -180.0, -280.0), (230.0, 180.0, 150.0)


@dataclass(frozen=True)
class Lesion:
    """A round lesion of the liver: "lesion" (solid) or "cyst", its centre before the person's bends, radius in mm."""

    kind: str
    centre: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True, eq=False)
class Trunk:
    """A person's trunk.

    Attributes:
        shape: what was drawn, in mm and factors.
        waves: three fields that bend organs.
        patches, branches: fields of about 18 mm and (two of) 11 mm.
        lesions: of the liver.
    """

    shape: dict[str, float]
    waves: tuple[Field, Field, Field]
    patches: Field
    branches: tuple[Field, Field]
    lesions: tuple[Lesion, ...] = ()

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Trunk:
        """A random person."""

        def u(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        fat = u(8, 26)
        shape = {
            "half_width": u(132, 152) + fat,
            "half_depth": u(84, 96) + fat * 0.9,
            "squareness": u(2.2, 2.7),
            "fat": fat,
            "muscle": u(9, 14),
            "visceral": u(2, 8),
            "liver": float(np.exp(rng.normal(0, 0.06))),
            "left_lobe": u(0.75, 1.2),
            "liver_low": u(-12, 14),
            "spleen": float(np.exp(rng.normal(0, 0.1))),
            "kidney": float(np.exp(rng.normal(0, 0.06))),
            "right_kidney_z": u(-138, -112),
            "left_kidney_z": u(-118, -94),
            "stomach": u(0.75, 1.15),
            "gas": u(-18, 8),
            "vertebra_z": u(0, 34),
            "aorta": u(9, 12.5),
            "bend": u(2.5, 5.0),
            "gallbladder": u(0.5, 1.2),
        }
        fields = Fields(rng, _LOW, _HIGH)
        waves = (fields.draw(45.0), fields.draw(45.0), fields.draw(45.0))
        return cls(shape, waves, fields.draw(18.0), (fields.draw(11.0), fields.draw(11.0)))

    @property
    def spine_y(self) -> float:
        """y of the middle of the vertebral bodies."""
        return self.shape["half_depth"] - self.shape["fat"] - 44

    def breathed(self, points: np.ndarray, down_mm: np.ndarray | float) -> np.ndarray:
        """Where inner points (3, ...) lie at rest when the diaphragm is ``down_mm`` lower (broadcast over points)."""
        # Organs next to the spine follow less, those below the ribs are also pushed forward.
        follow = 1 - 0.35 * sigmoid((points[1] - 45) / 15)
        moved = points.copy()
        moved[2] += down_mm * follow
        moved[1] += 0.2 * down_mm * follow
        return moved

    def depth(self, points: np.ndarray, down_mm: np.ndarray | float = 0.0) -> np.ndarray:
        """mm below the skin, measured along rays from the middle; negative outside."""
        x, y, _ = points
        front = sigmoid(-y / 25)
        y = y + 0.15 * down_mm * front
        a, b, p = self.shape["half_width"], self.shape["half_depth"], self.shape["squareness"]
        radius = np.sqrt(x**2 + y**2) + np.float32(1e-3)
        relative = (np.abs(x / a) ** p + np.abs(y / b) ** p) ** (1 / p) + np.float32(1e-5)
        wave = 2.5 * self.waves[0](points)
        return radius * (1 / relative - 1) + wave

    def dome(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of the diaphragm."""
        right = -((x + 72) ** 2 + 1.1 * (y - 0) ** 2) / 150
        left = -14 - ((x - 76) ** 2 + 1.1 * (y - 5) ** 2) / 150
        middle = -15 - ((x - 15) ** 2 + (y + 45) ** 2) / 190
        return joined(joined(right, left, 5.0), middle, 5.0)

    def paint(self, points: np.ndarray, down_mm: np.ndarray | float, heart: bool = False) -> Layers:
        """Everything inside and around the trunk.

        Args:
            points: (3, ...) float32.
            down_mm: how much lower the diaphragm is, broadcast over the points.
            heart: a plain heart too, for stacks that only touch it.
        """
        shape, layers = self.shape, Layers()
        depth = self.depth(points, down_mm)
        angle = np.abs(points[0]) / shape["half_width"]
        fat = shape["fat"] * (0.75 + 0.45 * angle) * np.exp(0.12 * self.patches(points))
        wall = depth - fat - 2
        inner = wall - shape["muscle"]
        layers.paint("skin", edge(depth))
        layers.paint("fat", edge(depth - 2))
        layers.paint("muscle", edge(wall, 0.8))
        self._ribs(layers, points, wall)
        layers.paint("fat", edge(inner, 0.8))

        rest = self.breathed(points, down_mm)
        rest = warped(rest, self.waves, shape["bend"])
        branches = (self.branches[0](rest), self.branches[1](rest))
        above = rest[2] - self.dome(rest[0], rest[1])
        self._lungs(layers, rest, inner, above, branches[0])
        if heart:
            whole = np.minimum(ellipsoid(rest, (30, -42, 22), (58, 42, 44)), np.minimum(inner, above - 1))
            layers.paint("myocardium", edge(whole - 2))
            for centre, radii in (((44, -36, 22), (22, 21, 30)), ((4, -48, 20), (26, 21, 30))):
                layers.paint("blood", edge(np.minimum(whole - 6, ellipsoid(rest, centre, radii))))
        below = np.minimum(inner - 1.5, -above - 2.5)
        self._bowel(layers, rest, below, branches)
        self._stomach(layers, rest, below)
        self._liver(layers, rest, below, branches)
        self._spleen(layers, rest, below)
        for side in (-1, 1):
            self._kidney(layers, rest, side, branches[1])
        self._vessels(layers, rest)
        self._spine(layers, points)
        return layers

    def _ribs(self, layers: Layers, points: np.ndarray, wall: np.ndarray) -> None:
        x, y, z = points
        # Ribs run down from the back to the front; the breastbone closes them in the middle.
        wave = np.cos(2 * np.pi * (z - 0.55 * y) / 27)
        thorax = sigmoid((z + 95 + 0.45 * np.abs(x) - 0.4 * (y + 40)) / 3) * sigmoid((np.abs(x) - 22) / 3)
        middle = self.shape["muscle"] * 0.55
        ring = np.abs(wall - middle)
        outer = edge(4.2 - ring) * sigmoid((wave - 0.45) / 0.08) * thorax
        core = edge(2.6 - ring) * sigmoid((wave - 0.65) / 0.08) * thorax
        sternum = edge(5.5 - ring) * edge(17 - np.abs(x)) * edge(-y - 20, 3) * edge(z + 20, 2)
        layers.paint("bone", np.maximum(outer, sternum))
        layers.paint("marrow", np.maximum(core, sternum * edge(3.6 - ring)))

    def _lungs(
        self, layers: Layers, rest: np.ndarray, inner: np.ndarray, above: np.ndarray, branch: np.ndarray
    ) -> None:
        x, y, _ = rest
        air = np.minimum(inner - 1.0, above - 1.0)
        layers.paint("lung", edge(air, 0.8))
        layers.paint("vein", edge(air) * sigmoid((branch - 1.7) / 0.15))
        # The mediastinum, around and behind the heart.
        width = 30 + 0.25 * (y + 40)
        layers.paint("fat", edge(np.minimum(width - np.abs(x - 4), above), 1.5) * edge(inner))
        layers.paint("muscle", edge(1.6 - np.abs(above + 1.2), 0.5) * edge(inner))

    def _bowel(
        self,
        layers: Layers,
        rest: np.ndarray,
        below: np.ndarray,
        branches: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Loops of bowel (where a field is far from 0 there is lumen, around it a wall) and the pancreas."""
        x, y, z = rest
        loops = self.patches(rest) + 0.4 * branches[1]
        room = np.minimum(np.minimum(below - self.shape["visceral"], -52 - z + 0.15 * np.abs(x)), 22 - y)
        lumen = np.minimum(room, 9 * (np.abs(loops) - 0.25))
        content = edge(lumen - 2.5)
        layers.paint("gut", edge(lumen))
        layers.paint("chyme", content)
        layers.paint("fluid", content * sigmoid((branches[0] - 0.7) / 0.2))
        layers.paint("gas", content * sigmoid((loops - 1.35 - 0.01 * (y + 60)) / 0.08) * edge(-25 - y, 4))
        axis = self.spine_y - 52 - 0.0022 * (x - 10) ** 2
        pancreas = 11.5 - np.hypot(y - axis, 0.8 * (z + 92 - 0.2 * x)) - 0.12 * np.clip(np.abs(x - 18) - 45, 0, 99)
        layers.paint("pancreas", edge(pancreas + 1.5 * branches[1]) * edge(55 - np.abs(x - 18), 1.5) * edge(below))

    def _stomach(self, layers: Layers, rest: np.ndarray, below: np.ndarray) -> None:
        scale = self.shape["stomach"]
        stomach = ellipsoid(rest, (62, -18, -52), (40 * scale, 44 * scale, 46 * scale))
        antrum = ellipsoid(rest, (22, -42, -92), (44 * scale, 20 * scale, 18 * scale))
        stomach = np.minimum(joined(stomach, antrum, 4.0), below - 1)
        layers.paint("gut", edge(stomach))
        layers.paint("chyme", edge(stomach - 3.5))
        layers.paint("gas", edge(np.minimum(stomach - 3.5, self.shape["gas"] - 24 - rest[1]), 0.5))

    def _liver(
        self, layers: Layers, rest: np.ndarray, below: np.ndarray, branches: tuple[np.ndarray, np.ndarray]
    ) -> None:
        shape = self.shape
        x, y, z = rest
        scale, low = shape["liver"], shape["liver_low"]
        right = ellipsoid(rest, (-74, 2, -60), (84 * scale, 86 * scale, 98 * scale))
        left = ellipsoid(rest, (14, -46, -38), (72 * scale * shape["left_lobe"], 38 * scale, 40 * scale))
        plane = 0.5 * (x + 12) + 0.38 * (y - 18) - 0.75 * (z + 76 - low)
        # The falciform ligament marks the left lobe off in front.
        ligament = ellipsoid(rest, (-14, -88, -70), (5, 26, 30))
        depth = np.minimum(np.minimum(joined(right, left, 6.0), -plane), np.minimum(below, -ligament))
        layers.paint("liver", edge(depth))
        tubes = np.hypot(*branches)
        central = np.clip(depth / 25, 0, 1)
        for lesion in self.lesions:
            size = lesion.radius_mm
            layers.paint(lesion.kind, edge(np.minimum(ellipsoid(rest, lesion.centre, (size,) * 3), depth)))
        layers.paint("liver vein", edge(depth - 3) * sigmoid((0.16 + 0.26 * central - tubes) / 0.05))
        size = shape["gallbladder"]
        gallbladder = ellipsoid(rest, (-40, -36, -88 + low), (13 * size, 15 * size, 28 * size))
        layers.paint("gut", edge(np.minimum(gallbladder + 1.5, below)))
        layers.paint("bile", edge(np.minimum(gallbladder, below)))

    def _spleen(self, layers: Layers, rest: np.ndarray, below: np.ndarray) -> None:
        x, y, z = rest
        scale = self.shape["spleen"]
        angle = np.deg2rad(28)
        u = np.cos(angle) * (x - 106) + np.sin(angle) * (y - 38)
        v = -np.sin(angle) * (x - 106) + np.cos(angle) * (y - 38)
        outer = ellipsoid((u, v, z), (0, 0, -58), (35 * scale, 50 * scale, 54 * scale))
        hilum = ellipsoid((u, v, z), (-32, -4, -62), (21, 30, 40))
        layers.paint("spleen", edge(np.minimum(np.minimum(outer, -hilum), below)))

    def _kidney(self, layers: Layers, rest: np.ndarray, side: int, branch: np.ndarray) -> None:
        """``side`` -1 is the person's right, at x < 0."""
        scale, back = self.shape["kidney"], self.spine_y
        name = "left" if side > 0 else "right"
        height = self.shape[f"{name}_kidney_z"]
        x, y, z = rest[0] * side, rest[1], rest[2] - height
        # The upper poles lean towards the spine and backwards.
        x, y = x - (58 - 0.22 * z), y - (back - 2 - 0.15 * z)
        angle = np.deg2rad(35)
        u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
        bean = ellipsoid((u, v, z), (0, 0, 0), (25 * scale, 28 * scale, 54 * scale))
        fat = bean + 4 + self.shape["visceral"]
        layers.paint("fat", edge(fat, 1.0))
        sinus = ellipsoid((u, v, z), (-15 * scale, 0, 0), (19 * scale, 11 * scale, 27 * scale))
        layers.paint(f"{name} {KIDNEY[0]}", edge(bean))
        pyramids = sigmoid((branch + 0.55) / 0.25)
        layers.paint(f"{name} {KIDNEY[1]}", edge(bean - 6.5, 0.8) * pyramids)
        layers.paint("fat", edge(np.minimum(sinus, 60 - np.abs(z))) * edge(bean + 3))
        layers.paint("fluid", edge(ellipsoid((u, v, z), (-9 * scale, 0, 0), (7, 4, 15))))

    def _vessels(self, layers: Layers, rest: np.ndarray) -> None:
        x, y, z = rest
        front = self.spine_y - 30
        aorta = self.shape["aorta"] - np.hypot(x - 12 - 0.06 * np.clip(z, 0, 99), y - front - 0.08 * np.clip(z, 0, 99))
        layers.paint("muscle", edge(aorta + 1.5, 0.5))
        layers.paint("artery", edge(aorta, 0.5))
        cava = 10.5 - np.hypot(x + 19, (y - front - 1 + 14 * sigmoid((z + 62) / 14)) * 1.2)
        layers.paint("vein", edge(np.minimum(cava, 22 - z), 0.6))
        portal = 6.5 - np.hypot(y - front + 16 - 0.25 * (x + 15), z + 78 + 0.45 * (x + 15))
        layers.paint("vein", edge(np.minimum(portal, 30 - np.abs(x + 15))))

    def _spine(self, layers: Layers, points: np.ndarray) -> None:
        x, y, z = points
        back = self.spine_y
        for side in (-1, 1):
            psoas = ellipsoid((x, y, z), (side * 34, back + 2, -210), (19, 19, 120))
            back_muscle = ellipsoid((x, y, 0 * z), (side * 31, back + 30, 0), (32, 20, 1e3)) * 12
            layers.paint("muscle", np.maximum(edge(psoas), edge(back_muscle)))
        phase = np.cos(2 * np.pi * (z - self.shape["vertebra_z"]) / 33)
        body = ellipsoid((x, y, 0 * z), (0, back, 0), (23, 17, 1e3))
        disc = sigmoid((phase - 0.84) / 0.05)
        layers.paint("bone", edge(body))
        layers.paint("marrow", edge(body - 1.8) * (1 - sigmoid((phase - 0.76) / 0.05)))
        layers.paint("disc", edge(body - 1.0) * disc)
        process = ellipsoid((x, y, 0 * z), (0, back + 40, 0), (3.2, 20, 1e3))
        wings = ellipsoid((x, y, 0 * z), (0, back + 21, 0), (34, 4.0, 1e3))
        present = sigmoid((0.3 - phase) / 0.1)
        arch = 13.5 - np.hypot(x, y - back - 24)
        bone = np.maximum(edge(process), edge(wings)) * present
        layers.paint("bone", np.maximum(bone, edge(arch) * (0.35 + 0.65 * present)))
        layers.paint("fluid", edge(8.5 - np.hypot(x, y - back - 23.5)))
        layers.paint("cord", edge(4.8 - np.hypot(x, y - back - 23.5)))
