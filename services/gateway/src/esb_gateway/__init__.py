"""The door and the data plane of the box."""
