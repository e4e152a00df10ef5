"""Which of several goals is pursued, and when the next one is."""
