#!/usr/bin/env bash
# Makes the virtual environment .venv and installs the pinned packages; does nothing when it is up to date.
#   scripts/setup.sh             what training on your own tables needs
#   scripts/setup.sh EXTRAS      e.g. train,sql or train,demo,dev; `cpu` or `gpu` is added by what the machine has.
# Other folders and interpreters: VENV=folder PYTHON=python3.12 scripts/setup.sh …
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=${VENV:-.venv}
device=cpu
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then device=gpu; fi
extras="${1:-train},$device"

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
  echo "Tidemill needs Python 3.11 to 3.13. Got: $("$python" --version 2>&1). Remedy: PYTHON=python3.12 $0" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "Tidemill needs Python's venv module. Got: $("$python" --version) without it. Remedy: install the package python3-venv" >&2
  exit 1
fi

# Installed already, from the very same files? Then there is nothing to do.
wanted="$extras $("$python" --version) $(cat pyproject.toml constraints.txt | cksum)"
if [ "$(cat "$venv/.tidemill" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

echo "── Setting up $venv with the extras $extras (a few minutes the first time)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt -e ".[$extras]" \
  | { grep -vE '^(Requirement already satisfied|Looking in|  )' || true; } # pip's own failure ends this script
echo "$wanted" >"$venv/.tidemill"
