"""The operations a user runs, and what they are made of."""
