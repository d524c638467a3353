"""What the node does to the machine: processes, namespaces, files."""
