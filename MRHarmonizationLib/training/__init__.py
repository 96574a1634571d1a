"""Training: one loop, recipes as data."""
