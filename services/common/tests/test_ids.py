import pytest
from esb_common import ids


def test_a_digest_is_sha256_of_the_bytes() -> None:
    assert ids.digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "g" * 64, "md5:" + "0" * 32])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        ids.digest(text)


@pytest.mark.parametrize(
    "text", ["", "w-", "w-0123456789ABCDEF", "w-0123456789abcdef\n", "../w-0123456789abc"]
)
def test_what_is_no_worker_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a worker id"):
        ids.worker_id(text)


def test_an_arn_has_aws_form() -> None:
    arn = ids.function_arn("eu-west-1", "123456789012", ids.FunctionName("hello"))
    assert arn == "arn:aws:lambda:eu-west-1:123456789012:function:hello"
