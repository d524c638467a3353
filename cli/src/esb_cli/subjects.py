"""The images that a command looks at: archives that a person names, or what the engine has, saved once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from esb_builder import build as builder
from esb_builder import engine, plan
from esb_builder import verify as judges
from esb_builder.archive import Archive
from esb_common.errors import Misuse

from esb_cli.framework import Session


@contextmanager
def opened(session: Session, what: Sequence[str]) -> Iterator[tuple[dict[str, judges.Subject], list[str]]]:
    """The images to look at by name, and the names of those that were asked for (all where none was).

    The others are what these stand on.
    """
    files = [Path(one) for one in what if Path(one).is_file()]
    if files and len(files) != len(what):
        raise Misuse("images of the engine and archives cannot be looked at in one run")
    with ExitStack() as stack:
        if files:
            family = judges.subjects(stack.enter_context(Archive(path)) for path in files)
            yield family, list(family)
            return
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esb-images-")), "images.tar")
        found = engine.ensure(engine.Place.from_environ(session.environ), session.printer)
        named = {plan.full_name(one) for one in what} or {*plan.PLAIN, *builder.had(found, plan.FIRECRACKER)}
        wanted = plan.chosen(named)
        with session.printer.step("save the images"):
            builder.save(found, wanted, path)
        family = judges.subjects([stack.enter_context(Archive(path))])
        yield family, [image.name for image in wanted if image.name in named]
