"""MANIQA scores of slices, with a checkpoint that the user brings: the library has none and fetches none.

Made for photographs: on MR slices it ranks versions of one image and says nothing of truth.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, InputError, WeightsError

if TYPE_CHECKING:
    from MRHarmonizationLib.models.maniqa import Maniqa, ManiqaSizes

#: Parts of the authors' network that a score does not need.
UNUSED = (
    "vit.norm.",
    "vit.head.",
    "vit.fc_norm.",
    "vit.blocks.1",
    "swintransformer1.downsample",
    "swintransformer2.downsample",
)
#: Channels of one attention head of the vision transformers.
HEAD_WIDTH = 64


@dataclass(frozen=True)
class ManiqaJudge:
    """A network with its weights.

    Attributes
    ----------
    network : Maniqa
        In evaluation mode.
    """

    network: Maniqa

    def score(self, plane: np.ndarray, low: float, high: float) -> float:
        """Return the score of a slice, higher is better.

        The authors average crops of their large photographs; slices are smaller than one crop, and are brought to its
        size whole, by bicubic interpolation.

        Parameters
        ----------
        plane : ndarray, shape (J, I)
        low, high : float
            Intensities of black and white: the same for all versions of an image.

        Raises
        ------
        InputError
            ``high`` is not above ``low``.
        """
        import torch
        from torch.nn import functional

        if not high > low:
            raise InputError(f"black is {low:g}, white {high:g}", "give the intensity range of the true image")
        grey = np.clip((np.asarray(plane, np.float32) - low) / (high - low), 0.0, 1.0)
        image = torch.from_numpy(np.ascontiguousarray(grey, np.float32))[None, None]
        edge = self.network.sizes.image
        with torch.inference_mode():
            image = functional.interpolate(image, (edge, edge), mode="bicubic", align_corners=False).clamp(0.0, 1.0)
            return float(self.network(((image - 0.5) / 0.5).expand(-1, 3, -1, -1))[0])


@lru_cache(maxsize=1)
def load_maniqa(checkpoint: Path) -> ManiqaJudge:
    """Read a checkpoint: a state dictionary with the names of the authors' network, for example of KonIQ-10k.

    Parameters
    ----------
    checkpoint : Path

    Raises
    ------
    DependencyError
        torch is not installed.
    WeightsError
        The file cannot be read, or holds another network.
    """
    try:
        import torch
    except ImportError as error:
        raise DependencyError("MANIQA needs torch", "pip install 'mrharmonization[torch]'") from error
    from MRHarmonizationLib.models.maniqa import Maniqa

    try:
        values = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"MANIQA checkpoint '{checkpoint}' cannot be read: {reason[0]}", "give the file of a state dictionary"
        ) from error
    state = {name.removeprefix("module."): value for name, value in dict(values.get("params", values)).items()}
    try:
        network = Maniqa(sizes_of(state))
        found = network.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise WeightsError(f"'{checkpoint}' is no checkpoint of MANIQA: {error}", "give one of MANIQA") from error
    strange = [name for name in found.unexpected_keys if not name.startswith(UNUSED)]
    if found.missing_keys or strange:
        raise WeightsError(
            f"'{checkpoint}' lacks {found.missing_keys[:3]} and holds {strange[:3]}, which MANIQA has not",
            "give a checkpoint of the authors' network",
        )
    return ManiqaJudge(network.eval())


def sizes_of(state: Mapping[str, Any]) -> ManiqaSizes:
    """Return the sizes of the network that a state dictionary belongs to.

    Raises
    ------
    KeyError
        It lacks a parameter by which they are told.
    """
    from MRHarmonizationLib.models.maniqa import READ_BLOCKS, ManiqaSizes

    embed, read = state["conv1.weight"].shape[:2]
    width = int(read) // len(READ_BLOCKS)
    patch = int(state["vit.patch_embed.proj.weight"].shape[-1])
    edge = math.isqrt(int(state["vit.pos_embed"].shape[1]) - 1)
    table = state["swintransformer1.layers.0.blocks.0.attn.relative_position_bias_table"]

    def count(pattern: str) -> int:
        return len({found[0] for name in state if (found := re.match(pattern, name))})

    groups = count(r"swintransformer1\.layers\.\d+\.")
    return ManiqaSizes(
        image=edge * patch,
        patch=patch,
        width=width,
        heads=max(width // HEAD_WIDTH, 1),
        embed=int(embed),
        hidden=int(state["swintransformer1.layers.0.blocks.0.mlp.fc1.weight"].shape[0]),
        stages=tuple(count(rf"swintransformer1\.layers\.{n}\.blocks\.\d+\.") for n in range(groups)),
        window=(math.isqrt(int(table.shape[0])) + 1) // 2,
        window_heads=int(table.shape[1]),
        channel_blocks=count(r"tablock1\.\d+\."),
    )
