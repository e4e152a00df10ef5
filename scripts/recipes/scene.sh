#!/usr/bin/env bash
# A compact world model of OGBench's scene, from nothing to runs/scene-practised/checkpoint.
# After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=scripts/configs/scene
within=(--config $configs/collect.yaml --play.lead-in 175 --play.frames 41)   # begins where the protocol does

$python scripts/collect_benchmark.py --config $configs/collect.yaml
$python scripts/collect_benchmark.py "${within[@]}" --episodes 800 --seed 2000 --output data/scene-starts
$python scripts/train_compact.py --config $configs/compact.yaml
$python scripts/train_heads.py --config $configs/heads.yaml
$python scripts/collect_practice.py --config $configs/practice.yaml              # its own attempts, an expert goes on
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/scene-heads/checkpoint --output runs/scene-practised \
    --more data/scene-starts data/scene-practice \
    --learn dynamics inverse_dynamics temporal_distance transition_energy --learning-rate 0.001 --steps 1500
