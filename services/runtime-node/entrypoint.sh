#!/bin/sh
# Starts the node's agent; it supervises containerd itself.
set -eu

exec /app/.venv/bin/python -m esb_node "$@"
