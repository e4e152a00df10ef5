"""What acts: the protocols of arms, the safety filter, limits and set-points."""
