"""Draw the logo and the module icons: a head slice, coarse on the left, clear on the right.

In squares for Compare; with the three colours of diffusion directions for DWI.

Run from anywhere; needs numpy, scipy and Pillow (which matplotlib brings along)::

    python Resources/draw_logo.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
LOGO_PX = 256
ICON_PX = 128
OVERSAMPLING = 4
COARSE_PIXELS = 15
"""Width of the coarse half's pixels: the head is about this many of them wide."""
STYLES = {"MRHarmonizationCompare": "checkered", "MRHarmonizationDWI": "directions"}
"""Icons that are no plain halves with a sweep line: four squares, or rods in the colours of diffusion directions."""

NIGHT = np.array([14, 22, 44]) / 255
DEEP = np.array([18, 64, 92]) / 255
TEAL = np.array([64, 224, 208]) / 255
AMBER = np.array([255, 178, 74]) / 255
DIRECTIONS = ((0.0, [236, 82, 74]), (120.0, [92, 214, 92]), (60.0, [86, 136, 255]))
"""Rods of the icon: angle in degrees, and colour (left-right red, front-back green, head-foot blue, as in DTI maps)."""


def coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x to the right and y upwards, both [size, size] in [-1, 1]."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    return np.meshgrid(axis, -axis)


def soft(distance: np.ndarray, size: int) -> np.ndarray:
    """Return 1 inside (negative distance), 0 outside, with an edge two output pixels wide."""
    return np.clip(0.5 - distance * size / 4, 0, 1)


def head_slice(size: int) -> np.ndarray:
    """Return an axial T1-like head slice [size, size], values in [0, 1], outside the head 0."""
    x, y = coordinates(size)
    x, y = x / 0.66, (y - 0.01) / 0.80
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    mirrored = np.arctan2(y, np.abs(x))  # the same folds on both sides

    def disc(limit: np.ndarray | float) -> np.ndarray:
        return soft(radius - limit, size)

    scalp, skull_out, skull_in = disc(1.0), disc(0.935), disc(0.865)
    folds = 0.052 * np.sin(17 * mirrored + 0.6 * np.sin(3 * mirrored)) + 0.022 * np.sin(31 * mirrored + 1.1)
    pial = 0.805 + 0.018 * np.sin(17 * mirrored + 0.6 * np.sin(3 * mirrored))
    fissure = np.clip(1 - np.abs(x) / (0.022 + 0.02 * np.abs(y)), 0, 1) * (np.abs(y) > 0.36)
    brain = disc(pial) * (1 - 0.9 * fissure)
    white = disc(0.625 + folds - 0.05 * np.exp(-((np.abs(np.abs(angle) - np.pi / 2)) ** 2) / 0.02))
    white = white * (1 - np.clip(2.4 * fissure, 0, 1))

    def ellipse(cx: float, cy: float, a: float, b: float, turn: float) -> np.ndarray:
        u, v = np.abs(x) - cx, y - cy
        u, v = u * np.cos(turn) + v * np.sin(turn), -u * np.sin(turn) + v * np.cos(turn)
        return soft((np.hypot(u / a, v / b) - 1) * min(a, b), size)

    deep_grey = np.maximum(ellipse(0.205, -0.05, 0.085, 0.150, 0.25), ellipse(0.245, 0.190, 0.055, 0.120, -0.35))
    ventricles = np.maximum(ellipse(0.085, 0.165, 0.050, 0.190, -0.28), ellipse(0.120, -0.245, 0.048, 0.170, 0.42))

    image = 0.80 * scalp
    image = image * (1 - skull_out) + 0.10 * skull_out
    image = image * (1 - skull_in) + 0.17 * skull_in
    image = image * (1 - brain) + 0.56 * brain
    image = image * (1 - white) + 0.95 * white
    image = image * (1 - deep_grey) + 0.66 * deep_grey
    image = image * (1 - ventricles) + 0.14 * ventricles
    return image


def coarse_version(image: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Return the slice in big noisy pixels, ``pixels`` of them over the width of the picture."""
    size = image.shape[0]
    block = size / pixels
    index = np.minimum((np.arange(size) / block).astype(int), pixels - 1)
    labels = index[:, None] * pixels + index[None, :]
    means = ndimage.mean(image, labels, np.arange(pixels * pixels)).reshape(pixels, pixels)
    means = ndimage.gaussian_filter(means, 0.35) * 0.92
    means = np.where(means > 0.03, np.clip(means + rng.normal(0, 0.05, means.shape), 0.05, 1), 0)
    return means[index[:, None], index[None, :]]


def tint(values: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Return RGB [.., 3]: from the night colour through ``bright`` to white."""
    v = values[..., None]
    low = NIGHT + (bright * 0.80 - NIGHT) * np.clip(v / 0.6, 0, 1)
    return low + (np.ones(3) - low) * np.clip((v - 0.6) / 0.4, 0, 1) * 0.92


def coarse_share(x: np.ndarray, y: np.ndarray, size: int, checkered: bool) -> np.ndarray:
    """Return where the coarse head is shown: 1 on the left, or in two of four squares, with soft edges."""
    columns, rows = soft(x, size), soft(y, size)
    if not checkered:
        return columns
    return columns * (1 - rows) + rows * (1 - columns)


def rods(x: np.ndarray, y: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return three rods through the centre with round ends, each with a dark rim: covers and colours, in order."""
    found = []
    for angle, colour in DIRECTIONS:
        along, across = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        u, v = x * along + y * across, -x * across + y * along
        distance = np.hypot(np.maximum(np.abs(u) - 0.52, 0), v)
        found += [(soft(distance - 0.088, size), NIGHT), (soft(distance - 0.058, size), np.array(colour) / 255)]
    return found


def draw(size: int, seed: int = 4, style: str = "sweep") -> Image.Image:
    """Return the logo, ``size`` pixels square, RGBA with rounded transparent corners.

    ``style`` is 'sweep', 'checkered' or 'directions'.
    """
    checkered = style == "checkered"
    big = size * OVERSAMPLING
    x, y = coordinates(big)
    slice_image = head_slice(big)
    coarse = coarse_version(slice_image, COARSE_PIXELS * 2, np.random.default_rng(seed))

    tile = NIGHT + (DEEP - NIGHT) * np.clip(0.5 + 0.5 * (x + y) / 1.6, 0, 1)[..., None]
    glow = np.exp(-((np.hypot(x / 0.8, y / 0.92)) ** 4))[..., None]
    tile = tile + 0.10 * glow * TEAL

    left = coarse_share(x, y, big, checkered)[..., None]
    values = coarse * left[..., 0] + slice_image * (1 - left[..., 0])
    inside_fine = soft(np.hypot(x / 0.66, (y - 0.01) / 0.80) - 1.0, big)
    inside = (coarse > 0) * left[..., 0] + inside_fine * (1 - left[..., 0])
    colours = tint(values, AMBER) * left + tint(values, TEAL) * (1 - left)
    picture = tile * (1 - inside[..., None]) + colours * inside[..., None]

    # The sweep line between before and after, with a handle like that of a comparison slider.
    line = soft(np.abs(x) - 0.012, big) * soft(np.abs(y) - 0.90, big)
    halo = np.exp(-((x / 0.045) ** 2)) * soft(np.abs(y) - 0.90, big) * 0.35
    handle = soft(np.hypot(x, y + 0.60) - 0.085, big)
    arrows = soft(np.maximum(np.abs(np.abs(x) - 0.036) - 0.020, np.abs(y + 0.60) - (0.058 - np.abs(x)) * 0.9), big)
    sweep = ((halo, TEAL), (line, np.ones(3)), (handle, np.ones(3)), (arrows * handle, NIGHT))
    marks = {"sweep": sweep, "checkered": (), "directions": rods(x, y, big)}[style]
    for cover, colour in marks:
        picture = picture * (1 - cover[..., None]) + colour * cover[..., None]

    corner = 0.22
    outside = np.hypot(np.maximum(np.abs(x) - (1 - corner), 0), np.maximum(np.abs(y) - (1 - corner), 0)) - corner
    rgba = np.concatenate([np.clip(picture, 0, 1), soft(outside + 0.004, big)[..., None]], axis=-1)
    large = Image.fromarray(np.round(rgba * 255).astype(np.uint8), "RGBA")
    return large.resize((size, size), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the extension's logo and an icon for every module folder."""
    logo = draw(LOGO_PX)
    logo.save(ROOT / "MRHarmonization.png", optimize=True)
    icons = {style: draw(ICON_PX, style=style) for style in {"sweep", *STYLES.values()}}
    for module in sorted((ROOT / "MRHarmonization").iterdir()):
        if (module / "Resources").is_dir():
            folder = module / "Resources" / "Icons"
            folder.mkdir(parents=True, exist_ok=True)
            icons[STYLES.get(module.name, "sweep")].save(folder / f"{module.name}.png", optimize=True)


if __name__ == "__main__":
    main()
