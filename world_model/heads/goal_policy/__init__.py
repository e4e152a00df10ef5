"""A goal-conditioned policy and its estimate of how many actions a goal is away."""
