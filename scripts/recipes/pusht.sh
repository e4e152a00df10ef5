#!/usr/bin/env bash
# A compact world model of Push-T, from nothing to runs/pusht-practised/checkpoint.
# After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=scripts/configs/benchmark
data=(--data data/pusht --more)

$python scripts/collect_benchmark.py --config $configs/collect.yaml --play.kind pusht --output data/pusht
$python scripts/train_compact.py --config $configs/compact.yaml "${data[@]}" --output runs/pusht --steps 4000
$python scripts/train_heads.py --config $configs/heads.yaml "${data[@]}" --parent runs/pusht/checkpoint --output runs/pusht-heads --steps 1200
$python scripts/collect_practice.py --config scripts/configs/pusht/practice.yaml   # its own attempts, an expert goes on
$python scripts/train_heads.py --config $configs/heads.yaml "${data[@]}" data/pusht-practice --parent runs/pusht-heads/checkpoint \
    --output runs/pusht-practised --learn dynamics inverse_dynamics temporal_distance transition_energy --learning-rate 0.001 --steps 1500
