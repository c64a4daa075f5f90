#!/usr/bin/env bash
# What can be said of the code without running it: style, types, import directions, no secrets. Needs .venv (VENV=FOLDER).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin

"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
"$bin/lint-imports"
"$bin/python" scripts/scan.py secrets
