#!/usr/bin/env bash
# One compact world model of FetchReach, FetchPush and FetchPickAndPlace, from nothing to runs/fetch-heads/checkpoint.
# After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
configs=scripts/configs/benchmark

$python scripts/collect_benchmark.py --config $configs/collect.yaml --benchmark FetchPickAndPlace --output data/fetch-pick-and-place
$python scripts/collect_benchmark.py --config $configs/collect.yaml
$python scripts/collect_benchmark.py --config $configs/collect.yaml --benchmark FetchReach --output data/fetch-reach --episodes 500
$python scripts/train_compact.py --config $configs/compact.yaml
$python scripts/train_heads.py --config $configs/heads.yaml
