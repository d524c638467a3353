"""What lock, fetch and build share: this machine's ways to the world, the store, the desk."""

from __future__ import annotations

import time
from collections.abc import Sequence

from esb_builder import base, locked, plan
from esb_builder.fetch import fetch
from esb_builder.fetch.needs import Finder
from esb_builder.lock import own_python, recipes
from esb_builder.lock.resolve import Desk
from esb_builder.sources.http import Web
from esb_builder.sources.machine import Machine, mirrors_of
from esb_builder.store import Store
from esb_common import settings
from esb_common.errors import NotPossibleHere

from esb_cli.framework import Session


def desk(session: Session) -> Desk:
    """The checkout, this machine, the store."""
    home = settings.folder(session.environ, "ESB_HOME", "~/.esb")
    wanted = recipes.read(session.repository)
    return Desk(session.repository, wanted, machine(session), Store(home / "store"), session.printer)


def fill(session: Session, names: Sequence[str] = ()) -> None:
    """Bring what a build of the named images would not find into the store; one look where nothing lacks."""
    home = settings.folder(session.environ, "ESB_HOME", "~/.esb")
    if locked.lacking(session.repository, home, plan.chosen(names)):
        here = desk(session)
        lock = here.read()
        assert lock is not None, "a checkout without a lock lacks nothing"
        lock = own_python.adopted(lock, home, here.machine, here.store, session.printer)
        fetch(Finder(lock, here.root, here.machine, here.store), session.printer)


def machine(session: Session) -> Machine:
    """This machine's configuration of apt, uv, proxies and named mirrors."""
    return Machine(
        web=Web.of(session.environ, time.sleep),
        apt=_apt(session),
        mirrors=mirrors_of(settings.text(session.environ, "ESB_MIRRORS", "")),
        uv=session.environments.uv,
        uv_environ=session.environments.uv_environ(),
        environ=session.environ,
    )


def _apt(session: Session) -> base.Apt:
    """apt's mirrors; none where there is no apt, which only what needs one will say."""
    try:
        return base.apt_of_machine(session.environ)
    except NotPossibleHere:
        return base.Apt((), "")
