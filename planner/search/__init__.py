"""Planners, one algorithm a file: they minimise a function of actions and know nothing else."""
