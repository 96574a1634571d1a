"""Physics that makes images worse in known ways: parameters are sampled apart from being applied."""

from MRHarmonizationLib.degradations.base import DEGRADATIONS, Degradation

__all__ = ["DEGRADATIONS", "Degradation"]
