#!/bin/sh
# Puts uv, from its hash-pinned wheel, at /usr/local/bin/uv: uv.sh LOCK. Runs under wheels.sh, works in /tmp.
#
# The installer is the pip that CPython carries in ensurepip, run from its wheel.
set -eu

PYTHONPATH=$(ls /usr/local/lib/python3.12/ensurepip/_bundled/pip-*.whl)
export PYTHONPATH
python3.12 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps --only-binary :all: \
    --root-user-action ignore --require-hashes --target /tmp/uv --requirement "$1"
install -m 0755 /tmp/uv/bin/uv /usr/local/bin/uv
