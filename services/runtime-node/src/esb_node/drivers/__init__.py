"""Ways to run workers, all behind one port; the contract suite in ``tests/contract`` holds them equal."""
