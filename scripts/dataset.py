"""Looks at recordings, makes a dataset to train on of them, and checks one.

python scripts/dataset.py inspect FOLDER [--reading FILE.yaml] [--propose FILE.yaml] [--model ARM.xml --site NAME]
python scripts/dataset.py convert FOLDER OUTPUT --reading FILE.yaml --image-size 256 --rate 4 --processes 2
python scripts/dataset.py validate FOLDER [--reading FILE.yaml] [--cache FOLDER]
python scripts/dataset.py arm FOLDER FILE.yaml --reading FILE.yaml --port /dev/ttyACM0 --camera 0
"""

import sys

from world_model.data.program import main

if __name__ == "__main__":
    sys.exit(main())
