#!/usr/bin/env bash
# A compact world model of FetchPush, from nothing to runs/fetch-push-heads/checkpoint. After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
configs=scripts/configs/benchmark

$python scripts/collect_benchmark.py --config $configs/collect.yaml --benchmark FetchPush --output data/fetch-push
$python scripts/train_compact.py --config $configs/compact.yaml --data data/fetch-push --output runs/fetch-push
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/fetch-push/checkpoint --data data/fetch-push --output runs/fetch-push-heads
