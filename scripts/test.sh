#!/usr/bin/env bash
# Sets everything up, then runs pytest on all cores: bash scripts/test.sh [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

set_up dev
say "[4/4] Tests: pytest $*"
exec .venv/bin/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal "$@"
