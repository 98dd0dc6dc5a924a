"""PNG files and captions with numpy alone: neither matplotlib nor PIL can be counted on inside Slicer."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

# A 3 x 5 font: five rows per glyph, each an octal digit whose bits are the three columns.
_GLYPHS = {
    "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644", "G": "34553", "H": "55755",
    "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555", "O": "25552", "P": "65644",
    "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255",
    "Y": "55222", "Z": "71247", "0": "75557", "1": "26227", "2": "61247", "3": "61216", "4": "55711", "5": "74616",
    "6": "34757", "7": "71222", "8": "75757", "9": "75716", "-": "00700", ".": "00002", ",": "00024", ":": "02020",
    "/": "11244", "(": "12221", ")": "42224", "+": "02720", "_": "00007", "=": "07070", ">": "42124", "%": "51245",
}  # fmt: skip


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as an RGB PNG file."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits per channel, RGB, not interlaced
    data = zlib.compress(rows.tobytes(), 6)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def text_size(text: str, scale: int = 2) -> tuple[int, int]:
    """(height, width) of a line of text in pixels."""
    return 5 * scale, max(0, 4 * len(text) - 1) * scale


def draw_text(pixels: np.ndarray, row: int, column: int, text: str, scale: int = 2, color: int = 255) -> None:
    """Draw a line of text (capitals, digits, a few signs) in place; what leaves the picture is cut."""
    for position, character in enumerate(text.upper()):
        rows = _GLYPHS.get(character, "00000")
        bits = np.array([[(int(digit) >> shift) & 1 for shift in (2, 1, 0)] for digit in rows], bool)
        glyph = bits.repeat(scale, 0).repeat(scale, 1)
        left = column + position * 4 * scale
        area = pixels[row : row + glyph.shape[0], left : left + glyph.shape[1]]
        area[glyph[: area.shape[0], : area.shape[1]]] = color
