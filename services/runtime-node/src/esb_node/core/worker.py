"""What is the same for every worker, whatever runs it: its user, its limits, where it calls home."""

from __future__ import annotations

SANDBOX_UID = 993
"""User and group of every worker, in all modes that isolate."""

MOST_PROCESSES = 1024
"""Processes and threads of one worker, as on AWS.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

MOST_FILES = 1024
"""Open descriptors of one process, as on AWS (same page)."""

MIB_OF_ONE_CPU = 1769
"""Memory at which AWS gives a function one whole CPU; shares are in proportion.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

OOM_SCORE = 500
"""A machine short of memory takes a worker before it takes one of us. proc_pid_oom_score_adj(5)"""

RUNTIME_API_HOST = "127.0.0.1"
RUNTIME_API_PORT = 9001
"""In the worker's own network namespace."""
