"""Whether a set-up, an energy or an encoder is what planning needs."""
