#!/usr/bin/env bash
# From nothing to an answering model: sets up, trains on the New York flights of 2013, serves, asks, and keeps serving.
#   scripts/quickstart.sh            until Ctrl-C
#   scripts/quickstart.sh --check    stops after the verified answer; exit status 0 only if all went well
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "" | --check) ;;
  *) echo "usage: scripts/quickstart.sh [--check]" >&2; exit 2 ;;
esac

scripts/setup.sh train,demo
bin=${VENV:-.venv}/bin

echo "── Training: python train.py +experiment=flights"
"$bin/python" train.py +experiment=flights

echo "── Serving: tidemill serve --model flights"
exec "$bin/tidemill" serve --model flights "$@"
