"""Hearing: the HTTP protocol, the Lambda API, the workers' Runtime API, the box's own pages."""
