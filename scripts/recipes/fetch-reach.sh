#!/usr/bin/env bash
# A compact world model of FetchReach, from nothing to runs/fetch-reach-heads/checkpoint. After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
configs=scripts/configs/benchmark

$python scripts/collect_benchmark.py --config $configs/collect.yaml --benchmark FetchReach --output data/fetch-reach
$python scripts/train_compact.py --config $configs/compact.yaml --data data/fetch-reach --output runs/fetch-reach
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/fetch-reach/checkpoint --data data/fetch-reach --output runs/fetch-reach-heads
