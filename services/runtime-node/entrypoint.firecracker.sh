#!/bin/sh
# Starts the node's agent once its side of the tunnel is up.
set -eu

exec esb-tunnel call /app/.venv/bin/python -m esb_node "$@"
