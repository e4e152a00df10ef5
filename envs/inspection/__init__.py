"""What is in other people's recordings, what is suspicious, and how they might be read."""
