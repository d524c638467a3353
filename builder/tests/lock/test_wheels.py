import pytest
from esb_builder.lock.wheels import Offered, chosen, offered
from esb_common.errors import BadInput


def wheel(file: str, mark: str, size: int = 1) -> str:
    address = f"https://files.invalid/{file}.whl"
    return f'{{ url = "{address}", size = {size}, hashes = {{ sha256 = "{mark * 64}" }} }}'


PYLOCK = f"""\
lock-version = "1.0"
[[packages]]
name = "protobuf"
version = "7.36.2"
wheels = [
    {wheel("protobuf-7.36.2-cp310-abi3-manylinux2014_x86_64", "a", 343223)},
    {wheel("protobuf-7.36.2-py3-none-any", "b")},
]
[[packages]]
name = "typing_extensions"
version = "4.16.0"
wheels = [{wheel("typing_extensions-4.16.0-py3-none-any", "c")}]
"""


def requirements(*hashes: str) -> str:
    listed = " \\\n".join(f"    --hash=sha256:{one * 64}" for one in hashes)
    return f"protobuf==7.36.2 \\\n{listed}\ntyping-extensions==4.16.0 \\\n    --hash=sha256:{'c' * 64}\n"


def best_of(*tags: str) -> str:
    marks = "0123456789abcdef"
    wheels = ", ".join(wheel(f"x-1-{one}", mark) for one, mark in zip(tags, marks, strict=False))
    offers = offered(f'[[packages]]\nname = "x"\nversion = "1"\nwheels = [{wheels}]')
    allowed = "x==1 " + " ".join(f"--hash=sha256:{mark * 64}" for mark in marks)
    return chosen(offers, allowed, "x.lock")["x"].path.removeprefix("x-1-").removesuffix(".whl")


def test_one_wheel_a_package_is_kept_the_most_specific_one() -> None:
    found = chosen(offered(PYLOCK), requirements("a", "b"), "r.lock")
    assert {name: pin.path for name, pin in found.items()} == {
        "protobuf": "protobuf-7.36.2-cp310-abi3-manylinux2014_x86_64.whl",
        "typing-extensions": "typing_extensions-4.16.0-py3-none-any.whl",
    }
    assert (found["protobuf"].version, found["protobuf"].size) == ("7.36.2", 343223)


def test_a_wheel_that_the_files_hashes_do_not_allow_is_not_taken() -> None:
    assert chosen(offered(PYLOCK), requirements("b"), "r.lock")["protobuf"].sha256 == "b" * 64


def test_a_package_without_an_allowed_wheel_is_an_error() -> None:
    with pytest.raises(BadInput, match=r"r\.lock: the index has no wheel for protobuf"):
        chosen(offered(PYLOCK), requirements("d"), "r.lock")


@pytest.mark.parametrize(
    ("best", "worse"),
    [
        ("cp312-cp312-manylinux_2_17_x86_64", "cp310-abi3-manylinux_2_17_x86_64"),
        ("cp310-abi3-manylinux_2_17_x86_64", "cp38-abi3-manylinux_2_17_x86_64"),
        ("cp38-abi3-manylinux_2_17_x86_64", "py3-none-manylinux_2_17_x86_64"),
        ("py3-none-manylinux_2_17_x86_64", "py3-none-any"),
        ("cp312-cp312-manylinux_2_28_x86_64", "cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64"),
        ("py3-none-any", "py2.py3-none-any"),
    ],
)
def test_specific_is_by_platform_interpreter_and_libc(best: str, worse: str) -> None:
    assert best_of(best, worse) == best_of(worse, best) == best


def test_addresses_are_the_indexs_own() -> None:
    assert offered(PYLOCK)[1] == Offered(
        "protobuf",
        chosen(offered(PYLOCK), requirements("b"), "r.lock")["protobuf"],
        "https://files.invalid/protobuf-7.36.2-py3-none-any.whl",
    )


def test_an_index_without_sizes_is_said() -> None:
    with pytest.raises(BadInput, match=r"how large protobuf 7\.36\.2 is"):
        offered(PYLOCK.replace("size = 343223, ", ""))
