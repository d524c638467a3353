"""A switch ends as old or as new, wherever it breaks off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from authorities import folders
from esb_builder.rotation import Generation, Ledger
from esb_common.errors import BadInput, Misuse


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(folders(tmp_path))


class Machine:
    """What is in force, piece by piece; each piece may be where it breaks."""

    def __init__(self, ledger: Ledger) -> None:
        self.pieces = ["", "", ""]
        self.breaks: Callable[[int], None] = lambda _piece: None
        self.old, self.new = (Generation(ledger.room()) for _ in range(2))
        self.act(self.old)

    def act(self, generation: Generation) -> None:
        for number in range(len(self.pieces)):
            self.breaks(number)
            self.pieces[number] = generation.folder.name

    @property
    def whole(self) -> str:
        (name,) = set(self.pieces)
        return name

    def break_once(self, at: int, error: type[BaseException]) -> None:
        def breaks(number: int) -> None:
            if number == at:
                self.breaks = lambda _piece: None
                raise error

        self.breaks = breaks

    def die(self, at: int) -> None:
        """No undoing either, as under ``kill -9``."""

        def breaks(number: int) -> None:
            if number == at:
                raise SystemExit

        self.breaks = breaks


def test_a_switch_that_succeeds_leaves_the_new_one_and_the_way_back(ledger: Ledger) -> None:
    machine = Machine(ledger)
    ledger.switch(machine.old, machine.new, machine.act)
    assert machine.whole == machine.new.folder.name
    assert ledger.previous == machine.old
    assert not ledger.unfinished


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_interrupted_or_failed_the_old_one_is_in_force(
    ledger: Ledger, at: int, error: type[BaseException]
) -> None:
    machine = Machine(ledger)
    machine.break_once(at, error)
    with pytest.raises(error):
        ledger.switch(machine.old, machine.new, machine.act)
    assert machine.whole == machine.old.folder.name
    assert not ledger.unfinished
    with pytest.raises(BadInput, match="no root CA to go back to"):
        _ = ledger.previous


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_switch_that_died_is_finished_by_the_next_command(ledger: Ledger, tmp_path: Path, at: int) -> None:
    machine = Machine(ledger)
    machine.die(at)
    with pytest.raises(SystemExit):
        ledger.switch(machine.old, machine.new, machine.act)
    machine.breaks = lambda _piece: None
    later = Ledger(folders(tmp_path))
    assert later.unfinished
    later.settle(machine.act)
    assert machine.whole in (machine.old.folder.name, machine.new.folder.name)
    assert not later.unfinished


def test_settling_does_nothing_where_nothing_broke_off(ledger: Ledger) -> None:
    machine = Machine(ledger)
    ledger.switch(machine.old, machine.new, machine.act)
    ledger.settle(lambda _generation: pytest.fail("there was nothing to finish"))


def test_rolling_back_twice_leads_forward_again(ledger: Ledger) -> None:
    machine = Machine(ledger)
    ledger.switch(machine.old, machine.new, machine.act)
    ledger.switch(machine.new, ledger.previous, machine.act)
    assert machine.whole == machine.old.folder.name
    assert ledger.previous == machine.new


def test_generations_that_nothing_names_are_swept_away(ledger: Ledger) -> None:
    machine = Machine(ledger)
    left_over = ledger.room()
    ledger.switch(machine.old, machine.new, machine.act)
    assert not left_over.exists()
    assert machine.old.folder.exists()
    assert not machine.new.folder.exists(), "its files are the ones in force"


def test_two_rotations_at_once_are_refused(ledger: Ledger, tmp_path: Path) -> None:
    with (
        ledger.held(),
        pytest.raises(Misuse, match="at this moment"),
        Ledger(folders(tmp_path)).held(),
    ):
        pytest.fail("held twice")
