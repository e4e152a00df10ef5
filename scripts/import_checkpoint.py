"""Makes a checkpoint of ours from published weights.

python scripts/import_checkpoint.py --list
python scripts/import_checkpoint.py vjepa2_ac_oss my-model
python scripts/import_checkpoint.py path/to/vjepa2-ac-vitg.pt my-model
python scripts/import_checkpoint.py facebook/vjepa2-vitl-fpc64-256 my-encoder
"""

import sys

from world_model.importing.program import main

if __name__ == "__main__":
    sys.exit(main())
