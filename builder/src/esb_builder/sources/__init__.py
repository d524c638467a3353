"""Where files come from on this machine, and how one is brought from there into the store.

``machine`` knows the configured mirrors, proxies and trust; ``http`` downloads. Nothing here
knows what a lock is.
"""
