"""URIs: `without_credentials` removes every form of a credential, and nothing else."""

import random
import string
from urllib.parse import quote

import pytest

from raysearch.core import UserError
from raysearch.storage import uris

LETTERS = string.ascii_letters + string.digits + "/+=@?#:%&"


@pytest.mark.parametrize("encoded", [True, False])
def test_no_secret_is_ever_shown(encoded: bool) -> None:
    draw = random.Random(0)
    for _ in range(500):
        secret = "".join(draw.choices(LETTERS, k=40))
        written = quote(secret, safe="") if encoded else secret
        text = f"{draw.choice(['s3', 'abfs', 'ftp', 'memory'])}://USER:{written}@host/folder?region=x"
        for word in (text, f"--data={text}"):
            shown = uris.without_credentials(word)
            assert shown.endswith("host/folder?region=x")
            assert not any(written[at : at + 5] in shown for at in range(36))
        if encoded:
            assert uris.parse_uri(text).secret == secret
        elif set(secret) & set("/?#@"):
            with pytest.raises(UserError, match="not percent-encoded") as caught:
                uris.parse_uri(text)
            assert not any(written[at : at + 5] in str(caught.value) for at in range(36))


@pytest.mark.parametrize(
    "name", ["sas_token", "client_secret", "X-Amz-Signature", "X-Amz-Credential", "account_key", "password", "sig"]
)
def test_settings_that_are_secrets_are_left_out(name: str) -> None:
    assert uris.without_credentials(f"abfs://box@host/x?a=1&{name}=abc&b=2") == "abfs://box@host/x?a=1&b=2"
    assert uris.without_credentials(f"https://host/x?{name}=abc") == "https://host/x"


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/folder",
        "s3://bucket/a@b/c",
        "gs://anonymous@bucket/x",
        "abfs://container@account.dfs.core.windows.net/x",
        "hdfs://host:8020/user/a@b",
        "s3://bucket/x?region=eu-west-1&endpoint_override=http://127.0.0.1:9000",
        "file:///data/cub",
        "data/cub",
        "/data/a:b@c",
        "--set",
    ],
)
def test_a_text_without_a_secret_is_shown_unchanged(text: str) -> None:
    assert uris.without_credentials(text) == text


def test_digits_after_a_colon_are_a_port_or_the_beginning_of_a_secret() -> None:
    assert uris.without_credentials("hdfs://host:8020/a@b") == "hdfs://host:8020/a@b"
    assert uris.without_credentials("s3://KEY:8020/a@bucket/x") == "s3://bucket/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/x#SECRET", "s3://bucket/x"),
        ("s3://bucket/x?region=a#SECRET", "s3://bucket/x?region=a"),
        ("s3://bucket/x#SECRET?region=a", "s3://bucket/x"),
        ("abfs://box@host/x#sig=SECRET", "abfs://box@host/x"),
        ("s3://key:abc@bucket/x#token=SECRET", "s3://bucket/x"),
        ("gs://bucket/x#/SECRET", "gs://bucket/x"),
        ("#SECRET", "#SECRET"),
    ],
)
def test_a_fragment_is_neither_shown_nor_part_of_a_name(text: str, shown: str) -> None:
    assert uris.without_credentials(f"--data={text}") == f"--data={shown}"
    if uris.is_uri(text):
        with pytest.raises(UserError, match="write %23 for a # in a name") as caught:
            uris.parse_uri(text)
        assert "SECRET" not in str(caught.value)
        assert uris.parse_uri(f"{shown.partition('?')[0]}%23v2").path.endswith("x#v2")
        assert uris.without_credentials(f"{shown.partition('?')[0]}%23v2").endswith("x%23v2")


def test_names_below() -> None:
    assert uris.join_uri("data/", "x") == "data/x"
    assert uris.join_uri("", "x") == "x"
    assert uris.join_uri("/", "x") == "/x"
    assert uris.join_uri("s3://b?scheme=http", "x") == "s3://b/x?scheme=http"
