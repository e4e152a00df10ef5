"""Latents forward in time under actions: one architecture a file, `vjepa2_ac` in the official layout."""
