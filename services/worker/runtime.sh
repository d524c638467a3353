#!/bin/sh
# Fills /var/runtime from the worker's own lock: runtime.sh LOCK. Runs under wheels.sh.
set -eu

export UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_LINK_MODE=copy UV_NO_CONFIG=1 UV_NO_INSTALLER_METADATA=1
uv pip install --quiet --python /usr/local/bin/python3.12 --target /var/runtime --require-hashes --only-binary :all: --requirement "$1"
rm -rf /var/runtime/bin /var/runtime/.lock
