"""The words every ESB program shares: functions, workers, wires, settings, errors.

This package imports nothing of ours and nothing but the standard library, does no I/O at
import time and owns no process, socket or file. It is copied into images, never locked.
"""
