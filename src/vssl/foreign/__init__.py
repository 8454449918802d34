"""Weights that others trained, as checkpoints of our own."""
