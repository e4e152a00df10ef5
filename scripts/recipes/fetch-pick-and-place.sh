#!/usr/bin/env bash
# A compact world model of FetchPickAndPlace, from nothing to runs/fetch-pick-and-place-heads/checkpoint. After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
configs=scripts/configs/benchmark

$python scripts/collect_benchmark.py --config $configs/collect.yaml --benchmark FetchPickAndPlace --output data/fetch-pick-and-place
$python scripts/train_compact.py --config $configs/compact.yaml --data data/fetch-pick-and-place --output runs/fetch-pick-and-place
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/fetch-pick-and-place/checkpoint --data data/fetch-pick-and-place --output runs/fetch-pick-and-place-heads
