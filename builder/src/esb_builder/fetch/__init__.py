"""Fills the store with what the lock names and the store lacks.

Several downloads at once, each continued, retried and verified as :mod:`esb_builder.sources.http` says;
addresses come from this machine alone. What fails does not stop the rest: at the end every failure is
named with what to do about it, and the next run takes up where this one ended.
"""

from esb_builder.fetch.work import AT_ONCE, Fetched, fetch

__all__ = ["AT_ONCE", "Fetched", "fetch"]
