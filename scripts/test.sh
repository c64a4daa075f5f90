#!/usr/bin/env bash
# Sets everything up and passes the tests: style, types, import directions, no secrets, the documents, then every test.
#   scripts/test.sh                  all of it, as CI runs it
#   scripts/test.sh tests/unit -m 'not slow'    pytest's own arguments: these tests only
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh train,demo,sql,bulk,signing,dev,docs
bin=${VENV:-.venv}/bin

if [ $# -gt 0 ]; then exec "$bin/python" -m pytest "$@"; fi

scripts/check.sh
scripts/docs.sh
"$bin/python" -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder
