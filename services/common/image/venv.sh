#!/bin/sh
# Makes /app/.venv of exactly a service's own lock: venv.sh SERVICE_FOLDER. Runs under wheels.sh.
#
# Byte code is checked against nothing at run time (the venv is read-only there), so it starts fast
# and does not depend on file times.
set -eu

export UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_LINK_MODE=copy UV_NO_CONFIG=1 UV_NO_INSTALLER_METADATA=1
export UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH
uv venv --quiet --no-project --python /usr/local/bin/python3.12 /app/.venv
uv pip install --quiet --python /app/.venv/bin/python --require-hashes --only-binary :all: --requirement "$1/requirements.lock"
find /app/.venv/bin -name 'activate*' ! -name activate -o -name '*.bat' | xargs rm -f
rm -f /app/.venv/.lock /app/.venv/.gitignore /app/.venv/CACHEDIR.TAG
