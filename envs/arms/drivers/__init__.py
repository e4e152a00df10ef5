"""Real arms and their cameras, one maker a file."""
