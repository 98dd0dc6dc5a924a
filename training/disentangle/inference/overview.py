"""The overview picture: one row per sequence, inputs, anatomy channels, reconstructions, segmentation, synthesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .png import draw_text, text_size

GAP = 4
CAPTION = 16
LEFT = 72

_CHANNEL_COLORS = np.array(
    [[0, 0, 0], [86, 180, 233], [230, 159, 0], [0, 158, 115], [204, 121, 167], [240, 228, 66], [0, 114, 178],
     [213, 94, 0], [160, 160, 160]], np.uint8,
)  # fmt: skip
"""Colour-blind safe colours (Okabe and Ito) of the arg-max channels; the background is black."""


def channel_colors(count: int) -> np.ndarray:
    """(count + 1, 3) uint8 colours of arg-max values 0 (outside) to ``count``."""
    repeats = _CHANNEL_COLORS[1 + np.arange(count) % (len(_CHANNEL_COLORS) - 1)]
    return np.concatenate([_CHANNEL_COLORS[:1], repeats])


def best_slice(mask: np.ndarray, labels: np.ndarray | None = None, lesions: Sequence[int] = ()) -> int:
    """The slice to show: where the lesions are largest, else where the mask is, of several such the middle one."""
    if labels is not None and len(lesions):
        areas = np.isin(labels, list(lesions)).sum(axis=(1, 2))
        if areas.max() > 0:
            return int(areas.argmax())
    areas = mask.sum(axis=(1, 2))
    largest = np.flatnonzero(areas == areas.max())
    return int(largest[len(largest) // 2])


def grey(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W) intensities to (H, W, 3) uint8, ``low`` to black and ``high`` to white."""
    scaled = np.clip((plane - low) / max(high - low, 1e-6), 0.0, 1.0)
    return np.repeat((scaled * 255).astype(np.uint8)[..., None], 3, axis=2)


def image_tile(volume: np.ndarray, mask: np.ndarray, k: int, window: tuple[float, float] | None = None) -> np.ndarray:
    """A slice of a volume, windowed to its 1st to 99.5th percentile inside the mask, black outside."""
    low, high = window if window else window_of(volume, mask)
    return np.where(mask[k][..., None], grey(volume[k], low, high), np.uint8(0))


def window_of(volume: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Display window of a volume: 1st and 99.5th percentile inside the mask."""
    values = volume[mask]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values[:: max(1, values.size // 100_000)], [1.0, 99.5])
    return float(low), float(high)


def channel_window(channels: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Display window of anatomy channels (C, K, J, I): 0 to 1, or what values of another range need."""
    if channels.min() >= 0.0 and 0.5 < channels.max() <= 1.0:
        return 0.0, 1.0
    return window_of(channels, np.broadcast_to(mask, channels.shape))


def overlay_tile(base: np.ndarray, labels: np.ndarray, colors: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """Labels (H, W) in colours over a picture (H, W, 3); value 0 stays clear."""
    painted = (1 - opacity) * base + opacity * colors[labels]
    return np.where((labels > 0)[..., None], painted, base).astype(np.uint8)


def compose(rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]]) -> np.ndarray:
    """Rows of captioned tiles as one picture.

    Args:
        rows: (row caption, tiles); a tile is (caption, (H, W, 3) uint8). All tiles have one size.

    Returns:
        (height, width, 3) uint8 on a dark background.
    """
    rows = [row for row in rows if row[1]]
    if not rows:
        return np.zeros((1, 1, 3), np.uint8)
    height, width, _ = rows[0][1][0][1].shape
    zoom = max(1, round(160 / max(height, width)))
    height, width = height * zoom, width * zoom
    columns = max(len(tiles) for _, tiles in rows)
    step = height + CAPTION + GAP
    picture = np.full((GAP + len(rows) * step, LEFT + columns * (width + GAP), 3), 24, np.uint8)
    for r, (title, tiles) in enumerate(rows):
        top = GAP + r * step
        _draw_title(picture, top + CAPTION + height // 2, title)
        for c, (caption, tile) in enumerate(tiles):
            left = LEFT + c * (width + GAP)
            # Two capitals' heights of pixels per column of the 3 x 5 font; shorten what does not fit.
            draw_text(picture, top + 3, left, caption[: width // 8])
            picture[top + CAPTION : top + CAPTION + height, left : left + width] = tile.repeat(zoom, 0).repeat(zoom, 1)
    return picture


def _draw_title(picture: np.ndarray, row: int, title: str) -> None:
    scale = 2
    if text_size(title, scale)[1] > LEFT - 8:
        scale = 1
    draw_text(picture, row, 6, title, scale)


def study_overview(
    inputs: Mapping[str, np.ndarray],
    mask: np.ndarray,
    anatomy: Mapping[str, np.ndarray],
    reconstructions: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    label_colors: np.ndarray,
    lesions: Sequence[int],
    synthesized: Mapping[str, np.ndarray],
    agnostic: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The overview of one study on its working grid.

    Args:
        inputs, reconstructions, synthesized, agnostic: sequence -> (K, J, I) normalised intensities.
        mask: (K, J, I) bool.
        anatomy: sequence -> (C, K, J, I); may be empty, as may every other mapping but ``inputs``.
        labels: (K, J, I) class values or None.
        label_colors: (L, 3) uint8.
        lesions: class values that decide the slice to show.

    Returns:
        (height, width, 3) uint8.
    """
    k = best_slice(mask, labels, lesions)
    windows = {name: window_of(volume, mask) for name, volume in inputs.items()}
    rows: list[tuple[str, list[tuple[str, np.ndarray]]]] = []
    if not anatomy:
        tiles = [(name, image_tile(volume, mask, k, windows[name])) for name, volume in inputs.items()]
        rows.append(("input", tiles))
    for name, volume in inputs.items() if anatomy else ():
        tiles = [("input", image_tile(volume, mask, k, windows[name]))]
        if name in anatomy:
            channels = anatomy[name][:, k]
            ends = channel_window(anatomy[name], mask)
            tiles += [(f"channel {c + 1}", grey(plane, *ends)) for c, plane in enumerate(channels)]
            winner = np.where(mask[k], channels.argmax(axis=0) + 1, 0)
            tiles.append(("strongest", channel_colors(len(channels))[winner]))
        if name in agnostic:
            tiles.append(("agnostic", image_tile(agnostic[name], mask, k)))
        if name in reconstructions:
            tiles.append(("rebuilt", image_tile(reconstructions[name], mask, k, windows[name])))
        rows.append((name, tiles))
    if labels is not None:
        tiles = [
            (name, overlay_tile(image_tile(volume, mask, k, windows[name]), labels[k], label_colors))
            for name, volume in inputs.items()
        ]
        rows.append(("labels", tiles))
    if synthesized:
        tiles = [(f"{name} synth", image_tile(volume, mask, k)) for name, volume in synthesized.items()]
        rows.append(("made", tiles))
    return compose(rows)


def cross_overview(
    inputs: Mapping[str, np.ndarray], mask: np.ndarray, cross: Mapping[tuple[str, str], np.ndarray]
) -> np.ndarray:
    """Sequences x sequences: row = whose anatomy, column = whose appearance; the diagonal is self-reconstruction."""
    k = best_slice(mask)
    names = list(inputs)
    windows = {name: window_of(volume, mask) for name, volume in inputs.items()}
    rows = [("input", [(name, image_tile(inputs[name], mask, k, windows[name])) for name in names])]
    for source in names:
        tiles = [
            (f"as {look}", image_tile(cross[source, look], mask, k, windows[look]))
            for look in names
            if (source, look) in cross
        ]
        rows.append((source, tiles))
    return compose(rows)
