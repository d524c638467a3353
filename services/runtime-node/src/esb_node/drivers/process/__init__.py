"""Workers as processes of this machine, without any container engine.

    node ──orders──▶ spawner ──fork──▶ worker (pid 1 of its namespace), or keeper ──fork──▶ worker
      ◀──────listener, phases, errors──────┘

A worker's life hangs on its ancestors by the kernel's own rules: the spawner is pid 1 of a pid
namespace around all workers, so nothing survives it; it ends when the node's end of its socket
closes, however the node ended. Without isolation a keeper per worker plays that part.
"""
