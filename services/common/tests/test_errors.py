from esb_common import errors


def kinds() -> list[type[errors.EsbError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EsbError) and kind is not errors.EsbError
    ]


def test_every_kind_has_an_exit_code_of_its_own() -> None:
    assert len({kind.exit_code for kind in kinds()}) == len(kinds())


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for kind in kinds():
        line = next(line for line in (errors.__doc__ or "").splitlines() if f"─ {kind.__name__} " in line)
        assert line.rstrip().endswith(f"exit {kind.exit_code}")


def test_an_error_prints_its_fact_and_then_its_hint() -> None:
    assert str(errors.Misuse("no such image: x", "see ./esb build --help")) == (
        "no such image: x\n  see ./esb build --help"
    )
