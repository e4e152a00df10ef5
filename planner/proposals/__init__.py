"""Actions to begin a search with, one source a file."""
