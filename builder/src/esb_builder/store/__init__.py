"""A content-addressed store: every file is named by its SHA-256 and is whole or absent.

A blob is written to ``<hex>.part`` beside its place, under a lock on that file, hashed whole,
flushed to disk and renamed. So a reader never sees a wrong or half file, whatever was killed
and when; a part that was left behind is continued, and is trusted only once all of it has the
right hash. Two processes that want one blob take turns: the second finds it.

Blobs are read-only and never change; emptying the store costs a fetch, nothing else. Cost of
a blob: one hash pass while writing, one more over what a broken-off run left.
"""

from esb_builder.store.blobs import Blob, Corrupt, NoRoom, Part, Store

__all__ = ["Blob", "Corrupt", "NoRoom", "Part", "Store"]
