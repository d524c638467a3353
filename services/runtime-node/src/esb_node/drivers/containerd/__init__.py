"""Workers as containers of a containerd that the node runs for itself.

The idea: everything that can be made before a worker is asked for is made before. An image is unpacked once
into a read-only root that all of its workers share; network namespaces stand ready, each with its address
and the worker's listening Runtime API socket. A start is then three calls: container, task, start.

Lifetimes: containerd lives as long as the node and is restarted when it dies; its shims, and so the
workers, outlive it. A network namespace is used by one worker. All of it lies in one folder
(``ESB_CONTAINERD_DIR``) and is swept when a node opens.

Cost: a shim (about 10 MB) and a ready network namespace per worker. Workers of one node share a bridge and
reach one another's addresses; nothing listens there but what a function opens itself.
"""
