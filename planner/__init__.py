"""What to do: search over actions, objectives, control, serving, evaluation and deployment."""
