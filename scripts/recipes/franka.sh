#!/usr/bin/env bash
# The checkpoints `franka` (runs/franka-searched) and `franka-views` (runs/franka-see), from nothing: about nine hours on two cores.
# Each step shows its progress; after an interruption the same command goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=scripts/configs/franka

$python scripts/collect.py --config $configs/collect.yaml                        # play
$python scripts/train_compact.py --config $configs/compact.yaml                  # trunk, latents, dynamics
$python scripts/probe.py --config $configs/probe.yaml                            # or it ends here
$python scripts/train_heads.py --config $configs/heads.yaml                      # what play says of the way to a goal
$python scripts/collect_practice.py --config $configs/practice.yaml              # its own attempts, an expert goes on
$python scripts/train_heads.py --config $configs/heads.yaml --more data/franka-practice --output runs/franka-practised --steps 4500
$python scripts/collect_practice.py --config $configs/tried.yaml                 # what searches try, an expert goes on
$python scripts/train_heads.py --config $configs/dynamics.yaml                   # what came of it: dynamics and distance
$python scripts/collect_practice.py --config $configs/tried.yaml --checkpoint runs/franka-tried/checkpoint \
    --output data/franka-tried-2 --episodes 700 --seed 2000
$python scripts/train_heads.py --config $configs/dynamics.yaml --output runs/franka-tried-2 \
    --more data/franka-practice data/franka-tried data/franka-tried-2
$python scripts/train_heads.py --config $configs/energy.yaml                     # the cost that a search is led by
$python scripts/collect_practice.py --config $configs/searched.yaml              # what is done by it, an expert goes on
$python scripts/train_heads.py --config $configs/energy.yaml --parent runs/franka-energy/checkpoint \
    --more data/franka-practice data/franka-searched --output runs/franka-searched
$python scripts/collect.py --config $configs/views.yaml                          # the play again, as other cameras see it
$python scripts/train_views.py --config $configs/see.yaml                        # the same latents from there
