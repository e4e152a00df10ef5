"""One training loop and what runs in it: predictors, masked pretraining, several processes."""
