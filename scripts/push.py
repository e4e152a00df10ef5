"""Uploads a checkpoint to the Hugging Face hub, with a model card made from its manifest.

python scripts/push.py my-checkpoint OWNER/NAME --card
python scripts/push.py my-checkpoint OWNER/NAME
python scripts/push.py my-checkpoint OWNER/NAME --no-private --message "trained for longer"
"""

import sys

from world_model.checkpoints.push_program import main

if __name__ == "__main__":
    sys.exit(main())
