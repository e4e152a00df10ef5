"""What will be seen: encoders, predictors and heads, their data, training and checkpoints.

The names that most programs need come from here, loaded when they are first asked for; the rest from its room.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
