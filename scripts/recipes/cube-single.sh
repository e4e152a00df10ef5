#!/usr/bin/env bash
# A compact world model of OGBench's cube-single, from nothing to runs/cube-single-practised/checkpoint.
# After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=scripts/configs/cube-single
within=(--config $configs/collect.yaml --play.lead-in 175 --play.frames 21)   # begins where the protocol does
practised=(--learn dynamics inverse_dynamics temporal_distance transition_energy --learning-rate 0.001
    --more data/cube-single-starts data/cube-single-practice)

$python scripts/collect_benchmark.py --config $configs/collect.yaml
$python scripts/collect_benchmark.py "${within[@]}" --episodes 920 --seed 2000 --output data/cube-single-starts
$python scripts/train_compact.py --config $configs/compact.yaml
$python scripts/train_heads.py --config $configs/heads.yaml
$python scripts/collect_practice.py --config $configs/practice.yaml              # its own attempts, the script goes on
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/cube-single-heads/checkpoint \
    --output runs/cube-single-once "${practised[@]}" --steps 1300
$python scripts/collect_practice.py --config $configs/practice.yaml --checkpoint runs/cube-single-once/checkpoint \
    --seed 6000 --episodes 700 --output data/cube-single-practice-again          # and those that it makes by then
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/cube-single-once/checkpoint \
    --output runs/cube-single-practised "${practised[@]}" data/cube-single-practice-again --steps 1000
