"""Images into tokens: frozen encoders of several families, each behind `world_model.base.Encoder`."""
