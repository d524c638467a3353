"""Instructions of Dockerfiles, and many ways to write the same ones down, for property tests."""

from __future__ import annotations

import random
from collections.abc import Sequence

from esb_builder.dockerfile import Instruction
from hypothesis import strategies as st

KEYWORDS = ("RUN", "COPY", "ENV", "ARG", "LABEL", "USER", "WORKDIR")
WORDS = st.text(alphabet="abcxyz0189/._=${}:@&|'", min_size=1, max_size=12).filter(
    lambda word: word.count("'") % 2 == 0
)
FLAGS = st.tuples(
    st.sampled_from(("mount", "from", "chmod", "platform")),
    st.text(alphabet="abc,=/._0179", min_size=1, max_size=20),
)


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    """One instruction, its line not yet known."""
    flags = tuple(draw(st.lists(FLAGS, max_size=3)))
    words = draw(st.lists(WORDS, min_size=1, max_size=6))
    return Instruction(0, draw(st.sampled_from(KEYWORDS)), flags, " ".join(words))


def lay_out(wanted: Sequence[Instruction], chance: random.Random) -> tuple[str, list[int]]:
    """A Dockerfile that says ``wanted``, laid out by ``chance``, and on which lines they begin."""
    lines: list[str] = []
    starts: list[int] = []
    for one in wanted:
        lines += [chance.choice(("", "# RUN nothing", "   # why \\"))] * chance.randrange(3)
        starts.append(len(lines) + 1)
        keyword = chance.choice((one.keyword, one.keyword.lower()))
        words = [keyword, *(f"--{name}={value}" for name, value in one.flags), *one.text.split()]
        lines += _broken(words, chance)
    return "\n".join(lines) + chance.choice(("", "\n")), starts


def _broken(words: Sequence[str], chance: random.Random) -> list[str]:
    """The words on one line, or on several with backslashes, with comments in between."""
    lines = [" " * chance.randrange(4) + words[0]]
    for word in words[1:]:
        if chance.random() < 0.3:
            lines[-1] += " \\"
            if chance.random() < 0.2:
                lines.append("# in between")
            lines.append(" " * chance.randrange(6) + word)
        else:
            lines[-1] += " " + word
    return lines
