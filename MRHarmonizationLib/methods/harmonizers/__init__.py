"""Classical harmonisers of contrast: fitted to a reference group, then applied to each scan; one family per file."""

from MRHarmonizationLib.methods.harmonizers.base import HARMONIZERS, FittedHarmonizer, Harmonizer

__all__ = ["HARMONIZERS", "FittedHarmonizer", "Harmonizer"]
