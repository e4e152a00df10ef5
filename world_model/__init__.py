"""What will be seen: encoders, predictors and heads, their data, training and checkpoints."""
