"""Looks at a machine (:mod:`facts`) and judges it (:mod:`judge`)."""
