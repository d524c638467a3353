"""The command line of ESB: parse, call, print."""

VERSION = "0.1.0"
