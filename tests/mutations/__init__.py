"""Wrong images and wrong Dockerfiles: for every check at least one that must fail it."""
