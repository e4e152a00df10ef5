"""Recordings to batches: windows of frames, and latents encoded once and kept on disk."""
