"""Pictures of a comparison in an HTML page: planes side by side on one grey scale, and a slider between two images."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.evaluation.figures import DIFFERENCE_SHARE, PLANE_NAMES, plane_tiles
from MRHarmonizationLib.evaluation.html import HtmlPage, image_tag
from MRHarmonizationLib.volumes.volume import Volume

PICTURE_STYLE = """
.tiles { display: grid; gap: .6rem; align-items: center; margin: .6rem 0; }
.tiles figure { margin: 0; min-width: 0; } .tiles img { width: 100%; }
.tiles figcaption { text-align: center; font-size: .85rem; }
@media (max-width: 700px) { .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; } }
.bar { display: inline-block; width: 7rem; height: .7rem; vertical-align: middle; border: 1px solid var(--rule); }
.bar.grey { background: linear-gradient(90deg, #000, #fff); }
.bar.change { background: linear-gradient(90deg, #053061, #4393c3, #f7f7f7, #d6604d, #67001f); }
.sliders { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem;
  align-items: end; }
.slider { margin: 0; } .slider .stage { position: relative; line-height: 0; }
.slider img { width: 100%; max-width: none; } .slider img + img { position: absolute; inset: 0; height: 100%;
  clip-path: inset(0 0 0 var(--cut, 50%)); }
.slider .edge { position: absolute; top: 0; bottom: 0; left: var(--cut, 50%); border-left: 1px solid #ffc400; }
.slider .name { position: absolute; top: .3rem; line-height: 1.3; padding: 0 .4rem; color: #fff; font-size: .8rem;
  background: rgba(0, 0, 0, .6); } .slider .name.left { left: .3rem; } .slider .name.right { right: .3rem; }
.slider input { width: 100%; margin: .4rem 0 0; }
"""

PICTURE_SCRIPT = """<script>
document.querySelectorAll(".sliders").forEach((box) => {
  const fill = () => box.querySelectorAll(".slider").forEach((slider) => {
    ["left", "right"].forEach((side, number) => {
      const role = box.querySelector("select." + side).value;
      const tile = document.getElementById("tile-" + role + "-" + slider.dataset.plane);
      const image = slider.querySelectorAll("img")[number];
      image.src = tile.src;
      image.alt = tile.alt;
      slider.querySelector(".name." + side).textContent = role;
    });
  });
  box.querySelectorAll("select").forEach((choice) => choice.addEventListener("change", fill));
  box.querySelectorAll(".slider input").forEach((range) => range.addEventListener("input", () =>
    range.closest(".slider").style.setProperty("--cut", range.value + "%")));
  box.hidden = false;
  fill();
});
</script>"""


@dataclass(frozen=True)
class Picture:
    """A volume to show.

    Attributes
    ----------
    name : str
        Under each of its planes; letters, digits, spaces.
    volume : Volume
    window : (low, high)
        Values of the first and the last colour.
    colours : str
        matplotlib's name of the colour map.
    """

    name: str
    volume: Volume
    window: tuple[float, float]
    colours: str = "gray"


def add_comparison_pictures(
    page: HtmlPage, images: Mapping[str, Volume], window: tuple[float, float], mask: np.ndarray
) -> None:
    """Add a slider between two images, and below it three planes of every image and of the difference.

    Parameters
    ----------
    page : HtmlPage
    images : mapping of str to Volume
        At least 'before' and 'after', all on one grid.
    window : (low, high)
        Grey scale of all images, image units.
    mask : bool ndarray, shape (K, J, I)
        The planes cross at its centre.
    """
    half = DIFFERENCE_SHARE * (window[1] - window[0])
    change = images["after"].array.astype(np.float32) - images["before"].array
    pictures = [Picture(name, volume, window) for name, volume in images.items()]
    pictures.append(Picture("difference", images["after"].with_array(change), (-half, half), "RdBu_r"))
    options = {side: _options(list(images), chosen) for side, chosen in (("left", "before"), ("right", "after"))}
    sliders = "".join(_slider(plane) for plane in PLANE_NAMES)
    page.fragment(
        '<div class="sliders" hidden><p style="grid-column: 1 / -1">Drag the slider under a picture to pass from '
        f'<select class="left" aria-label="image on the left">{options["left"]}</select> to '
        f'<select class="right" aria-label="image on the right">{options["right"]}</select>.</p>{sliders}</div>',
        PICTURE_STYLE,
        [PICTURE_SCRIPT],
    )
    add_tiles(page, pictures, mask)
    page.fragment(
        f'<p class="soft">Images: {window[0]:.4g} <span class="bar grey"></span> {window[1]:.4g} image units, one '
        f'scale for all. Difference, after minus before: {-half:.3g} <span class="bar change"></span> {half:.3g}; red: '
        "more in after. The planes cross at the middle of the mask; the patient's right is on the left of axial and "
        "coronal planes, the face on the left of sagittal ones.</p>"
    )


def add_tiles(page: HtmlPage, pictures: list[Picture], mask: np.ndarray) -> None:
    """Add three planes of each picture: one column per picture, on narrow screens two columns.

    Parameters
    ----------
    page : HtmlPage
    pictures : list of Picture
    mask : bool ndarray, shape (K, J, I)
        The planes cross at its centre.
    """
    drawn = {picture.name: plane_tiles(picture.volume, picture.window, mask, picture.colours) for picture in pictures}
    columns = f"repeat({len(drawn)}, minmax(0, 1fr))"
    for plane in PLANE_NAMES:
        tiles = "".join(
            f"<figure>{_tile(name, plane, planes[plane])}<figcaption>{html.escape(name)}, {plane}</figcaption></figure>"
            for name, planes in drawn.items()
        )
        page.fragment(f'<div class="tiles" style="grid-template-columns: {columns}">{tiles}</div>', PICTURE_STYLE)


def _tile(name: str, plane: str, png: bytes) -> str:
    identifier = html.escape(f"tile-{name}-{plane}", quote=True)
    return image_tag(png, f"{name}, {plane} plane", f'id="{identifier}" ')


def _options(names: list[str], chosen: str) -> str:
    return "".join(f"<option{' selected' if name == chosen else ''}>{html.escape(name)}</option>" for name in names)


def _slider(plane: str) -> str:
    return (
        f'<figure class="slider" data-plane="{plane}"><div class="stage"><img alt=""><img alt="">'
        '<span class="edge"></span><span class="name left"></span><span class="name right"></span></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="border between the two images, {plane}">'
        f"<figcaption>{plane}</figcaption></figure>"
    )
