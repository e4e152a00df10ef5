#!/usr/bin/env bash
# A compact world model of PushT, from nothing to runs/pusht-heads/checkpoint. After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=scripts/configs/benchmark
data=(--data data/pusht --more)

$python scripts/collect_benchmark.py --config $configs/collect.yaml --play.kind pusht --output data/pusht
$python scripts/train_compact.py --config $configs/compact.yaml "${data[@]}" --output runs/pusht --steps 3500
$python scripts/train_heads.py --config $configs/heads.yaml "${data[@]}" --parent runs/pusht/checkpoint --output runs/pusht-heads --steps 3000 \
    --learn dynamics inverse_dynamics temporal_distance subgoals transition_energy
