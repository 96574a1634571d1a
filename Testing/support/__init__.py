"""What several tests share: grids of every kind, oracles that do not use the library, files written by hand."""
