"""How fast planning and training are, beside the official code and planner by planner."""
