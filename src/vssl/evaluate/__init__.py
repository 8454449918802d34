"""Scoring frozen encoders and comparing the scores; knows backbones, never methods."""
