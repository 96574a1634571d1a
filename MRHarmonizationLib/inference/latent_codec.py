"""The autoencoder of the latent degraders in use: planes to codes and back, on any backend."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import WeightsError
from MRHarmonizationLib.inference.backends import Backend, choose_backend
from MRHarmonizationLib.inference.latent_input import CELL, TASK, fold, gain_map, unfold
from MRHarmonizationLib.weights.card import Card

ARCHITECTURE = "kl_autoencoder"


class LatentCodec:
    """Encodes and decodes planes.

    Parameters
    ----------
    card : Card
        Of an autoencoder.
    backend, device : str
        See :func:`~MRHarmonizationLib.inference.backends.choose_backend`.
    threads : int, optional

    Raises
    ------
    WeightsError
        The card is of another network, or its file is missing or altered.
    DependencyError
        A package that the backend needs is missing.
    """

    def __init__(self, card: Card, backend: str = "auto", device: str = "auto", threads: int | None = None) -> None:
        if card.task != TASK or card.architecture.name != ARCHITECTURE:
            raise WeightsError(f"model '{card.id}' is no autoencoder of degraders", "name one in the denoiser's card")
        self.card = card
        self.channels = len(card.input.channels) - CELL
        self._backend: Backend = choose_backend(card, backend, device, threads)

    def encode(self, planes: np.ndarray) -> np.ndarray:
        """Return the codes (N, C, A / 4, B / 4) of planes (N, A, B), float32; A and B are multiples of 4."""
        cells = unfold(planes)
        empty = np.zeros((cells.shape[0], self.channels, *cells.shape[2:]), np.float32)
        return self._backend.run(np.concatenate([cells, empty], axis=1))[:, : self.channels]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the planes (N, 4 a, 4 b) of codes (N, C, a, b), float32."""
        empty = np.zeros((codes.shape[0], CELL, *codes.shape[2:]), np.float32)
        return fold(self._backend.run(np.concatenate([empty, codes], axis=1).astype(np.float32))[:, self.channels :])

    def condition(self, images: np.ndarray, guides: np.ndarray, gains: np.ndarray) -> np.ndarray:
        """Return what a denoiser is given of planes.

        Parameters
        ----------
        images : ndarray, shape (N, A, B)
            Normalised.
        guides : ndarray, shape (N, A, B)
            See :func:`~MRHarmonizationLib.inference.latent_input.guide`.
        gains : ndarray, shape (N, A, B)
            Relative deviation of the noise.

        Returns
        -------
        ndarray, shape (N, 2 C + 1, A / 4, B / 4), float32
        """
        codes = self.encode(np.concatenate([images, guides]))
        return np.concatenate([codes[: len(images)], codes[len(images) :], gain_map(gains)], axis=1)
