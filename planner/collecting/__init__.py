"""Episodes recorded with a checkpoint's own attempts in them."""
