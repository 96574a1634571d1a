"""Proof: comparison reports, and evaluation protocols that anyone can run again."""
