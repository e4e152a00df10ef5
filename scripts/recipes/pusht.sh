#!/usr/bin/env bash
# A compact world model of PushT, from nothing to runs/pusht-heads/checkpoint. After an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
configs=scripts/configs/benchmark

$python scripts/collect_benchmark.py --config $configs/collect.yaml --benchmark PushT --output data/pusht
$python scripts/train_compact.py --config $configs/compact.yaml --data data/pusht --output runs/pusht
$python scripts/train_heads.py --config $configs/heads.yaml --parent runs/pusht/checkpoint --data data/pusht --output runs/pusht-heads
