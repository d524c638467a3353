"""Acting: the node, the state, the store, the logs, and the one place that runs the fleet's commands."""
