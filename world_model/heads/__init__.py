"""What is learnt on latents, or looked up in them."""
