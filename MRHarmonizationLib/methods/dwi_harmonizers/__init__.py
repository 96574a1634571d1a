"""Classical harmonisers of diffusion scans: fitted to target scans, then applied to each scan; one family per file."""

from MRHarmonizationLib.methods.dwi_harmonizers.base import DWI_HARMONIZERS, DwiHarmonizer, FittedDwiHarmonizer

__all__ = ["DWI_HARMONIZERS", "DwiHarmonizer", "FittedDwiHarmonizer"]
