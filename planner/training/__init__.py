"""Training the predictor as a program, and the report on whether it was worth it."""
