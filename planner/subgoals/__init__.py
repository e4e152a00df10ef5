"""What is pursued on the way to a goal, and when the next thing is: one source a file."""
