#!/usr/bin/env bash
# One compact world model of FetchReach, FetchPush and FetchPickAndPlace, from nothing to runs/fetch-practised/checkpoint.
# After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=scripts/configs/benchmark

$python scripts/collect_benchmark.py --config $configs/collect.yaml --play.task PickAndPlace --output data/fetch-pick-and-place
$python scripts/collect_benchmark.py --config $configs/collect.yaml
$python scripts/collect_benchmark.py --config $configs/collect.yaml --play.task Reach --output data/fetch-reach --episodes 500
$python scripts/train_compact.py --config $configs/compact.yaml
$python scripts/train_heads.py --config $configs/heads.yaml
$python scripts/collect_practice.py --config $configs/practice.yaml                     # what it does, an expert goes on
$python scripts/collect_practice.py --config $configs/practice.yaml --tasks.FetchPush-v0 0 --tasks.FetchPickAndPlace-v0 1 \
    --seed 5000 --output data/fetch-pick-and-place-practice
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/fetch-heads/checkpoint --output runs/fetch-practised \
    --more data/fetch-push data/fetch-reach data/fetch-push-practice data/fetch-pick-and-place-practice \
    --learn dynamics inverse_dynamics temporal_distance transition_energy --learning-rate 0.001 --steps 1200
