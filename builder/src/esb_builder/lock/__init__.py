"""The lock: every input of every image, resolved once, written down, moved only on purpose.

``esb.lock`` at the repository's root is for reading in a diff: sorted, one line a file. apt is
the solver for Debian packages, on an index whose signature it verifies; uv is the solver for
wheels, under the hashes of each service's own ``requirements.lock``. Resolving needs the
network and about ten seconds; reading the lock needs neither.

``model`` says what a lock is, ``text`` reads and writes it, ``moves`` compares and merges:
these are pure. ``recipes`` asks the checkout, ``debian``, ``wheels``, ``images`` and
``interpreter`` ask the world, ``resolve`` puts them together.
"""
