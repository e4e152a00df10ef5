"""Peers' models and planners, run beside ours by their own code, of which none is in this repository."""
