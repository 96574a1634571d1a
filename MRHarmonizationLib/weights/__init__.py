"""Published networks: one weight file and one card each, and the store that finds and checks them."""

from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model, import_weights, list_models, search_folders, verify

__all__ = ["Card", "get_model", "import_weights", "list_models", "search_folders", "verify"]
