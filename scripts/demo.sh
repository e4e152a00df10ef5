#!/usr/bin/env bash
# Sets everything up, then lets the bundled model reach five goal images: bash scripts/demo.sh [evaluate.py's options]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
results=results/demo

set_up
set -- --config scripts/configs/plan/reach.yaml --checkpoint franka-tiny --task FrankaReach-v0 --episodes 5 --seed 10000 --output "$results" "$@"
say "[4/4] Demo: python scripts/evaluate.py $*"
.venv/bin/python scripts/evaluate.py "$@"
say "Done. Look at what it did:"
find "$results" -type f | sort | sed 's/^/  /'
say "To go on: source .venv/bin/activate, then: vjepa-planner --help"
