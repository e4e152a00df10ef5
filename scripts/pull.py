"""Downloads a checkpoint from the Hugging Face hub and verifies it.

python scripts/pull.py OWNER/NAME
python scripts/pull.py OWNER/NAME my-name --revision v1
"""

import sys

from world_model.checkpoints.pull_program import main

if __name__ == "__main__":
    sys.exit(main())
