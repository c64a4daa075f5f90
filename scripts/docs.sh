#!/usr/bin/env bash
# Builds the documents as a site, docs/_build/html: the reference is generated first, every warning is an error, and no
# network is needed.
#   scripts/docs.sh            sets up what the build needs, then builds
#   SPHINX=sphinx-build PYTHON_OF_TIDEMILL=python scripts/docs.sh    with what is installed already
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${SPHINX:-}" ]; then
  scripts/setup.sh train,demo,sql,bulk,signing,dev,docs
  SPHINX=${VENV:-.venv}/bin/sphinx-build
fi
"${PYTHON_OF_TIDEMILL:-${VENV:-.venv}/bin/python}" scripts/reference.py
exec "$SPHINX" --builder html --fail-on-warning --keep-going --nitpicky --fresh-env --quiet docs docs/_build/html
