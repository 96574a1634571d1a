"""Where the brain and its tissues lie in a diffusion scan, told from the scan alone."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: White matter: at least this fractional anisotropy, and a mean diffusivity (mm²/s) that neither fluid nor noise has.
WHITE_FA, WHITE_MD = 0.3, (0.4e-3, 1.1e-3)
#: Grey matter: at most this anisotropy, and diffusivities between those of white matter and of mixtures with fluid.
GREY_FA, GREY_MD = 0.2, (0.6e-3, 1.2e-3)
#: Fluid: at least this mean diffusivity, mm²/s, and no more anisotropy than noise gives.
FLUID_MD, FLUID_FA = 2.0e-3, 0.3
#: Names of the regions in the order of tables.
TISSUES = ("white matter", "grey matter", "fluid", "brain")
#: Side of the in-plane median filter, and voxels taken off and put back to cut the scalp from the brain.
_MEDIAN, _OPENING = 3, 2
#: How often a threshold is found again, and by which share it may fall and count as settled.
_MOST_THRESHOLDS, _SETTLED = 8, 0.01
#: Slices beyond this distance in voxels are no neighbours for opening where a scan has fewer than so many.
_FEW_SLICES = 5


def brain_mask(b0: np.ndarray) -> np.ndarray:
    """Return the brain of an unweighted image: Otsu, opened by two voxels, largest component, holes filled.

    The threshold is found again and again, each time with everything brighter than the middle of the object taken for
    equal: else it falls between tissue and fluid where fluid is bright and tissue is shaded.

    Parameters
    ----------
    b0 : ndarray, shape (K, J, I)
        Mean unweighted image, fat suppressed as diffusion scans are; one slice too.

    Returns
    -------
    bool ndarray, shape (K, J, I)

    Raises
    ------
    InputError
        No object can be told from the air.

    Source
    ------
    The rule of dipy's ``median_otsu``, within slices: Garyfallidis et al., Front. Neuroinform. 8:8 (2014), doi
    10.3389/fninf.2014.00008.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    image = ndimage.median_filter(np.asarray(b0, np.float32), size=(1, _MEDIAN, _MEDIAN))
    top = float(np.percentile(image, 99.0))
    if not top > float(image.min()):
        raise InputError(f"the unweighted image shows no object (99 % of it is {top:g})", "give a mask of the brain")
    threshold = float(threshold_otsu(np.minimum(image, top)))
    for _ in range(_MOST_THRESHOLDS):
        former, middle = threshold, float(np.median(image[image > threshold]))
        threshold = float(threshold_otsu(np.minimum(image, middle)))
        if threshold > (1.0 - _SETTLED) * former:
            break
    mask = image > threshold
    flat = ndimage.generate_binary_structure(3, 1)
    if image.shape[0] < _FEW_SLICES:
        flat[0], flat[2] = False, False
    opened = ndimage.binary_opening(mask, flat, iterations=_OPENING)
    labels, count = ndimage.label(opened if opened.any() else mask)
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    if count == 0:
        raise InputError("the unweighted image shows no object", "give a mask of the brain")
    whole = ndimage.binary_closing(np.pad(labels == int(sizes.argmax()), 4), flat, iterations=_OPENING)[
        4:-4, 4:-4, 4:-4
    ]
    return np.stack([ndimage.binary_fill_holes(plane) for plane in whole])


def tissue_masks(md_mm2_per_s: np.ndarray, fa: np.ndarray, brain: np.ndarray) -> dict[str, np.ndarray]:
    """Return white matter, grey matter, fluid and brain by mean diffusivity and anisotropy.

    Both are median-filtered within slices first: picking voxels by their own noise would make the picked ones differ
    from any second measurement of them. White matter leaves out the rim of the brain, where anisotropy is an artefact
    of its edge. Voxels between the classes belong to none of them, so that mixtures do not blur the figures.

    Parameters
    ----------
    md_mm2_per_s, fa : ndarrays, shape (K, J, I)
    brain : bool ndarray, shape (K, J, I)

    Returns
    -------
    dict of str to bool ndarray
        Keys as in :data:`TISSUES`; any may be empty.
    """
    from scipy import ndimage

    flat = ndimage.generate_binary_structure(3, 1)
    flat[0], flat[2] = False, False
    size = (1, _MEDIAN, _MEDIAN)
    md, fa = ndimage.median_filter(md_mm2_per_s, size=size), ndimage.median_filter(fa, size=size)
    inner = ndimage.binary_erosion(brain, flat, iterations=_OPENING)
    white = inner & (fa >= WHITE_FA) & (md >= WHITE_MD[0]) & (md <= WHITE_MD[1])
    grey = brain & (fa <= GREY_FA) & (md >= GREY_MD[0]) & (md <= GREY_MD[1])
    fluid = brain & (md >= FLUID_MD) & (fa <= FLUID_FA)
    return dict(zip(TISSUES, (white, grey, fluid, np.asarray(brain, bool)), strict=True))
