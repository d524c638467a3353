"""Decisions: pure, without I/O. Time, network, disk and randomness are passed in."""
