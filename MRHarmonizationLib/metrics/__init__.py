"""Image quality measures: similarity to a reference, no-reference estimates, lesion safety."""
