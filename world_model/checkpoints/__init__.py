"""Checkpoints on disk: manifest, weights, found by name, saved and verified."""
