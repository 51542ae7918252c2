"""URIs as people write them: their parts, and the text of them that may be shown.

A URI may contain credentials (`s3://key:secret@bucket/cub`). No printed, logged or recorded text may. Such texts go
through `without_credentials`, which removes more rather than less where a secret was not percent-encoded.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from raysearch.core import UserError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_USER = re.compile(r"([^/?#:@]*)@")
_USER_AND_SECRET = re.compile(r"([^/?#:@]*):(.*)@")  # to the last @: an unencoded secret may contain any character
_PORT = re.compile(r"[^/?#:@]*:\d+([/?#]|$)")  # host:port/path@version, without a user
# URIs whose servers are those of the scheme: a bucket, with its region; a container of an account at Azure.
_PLAIN = (
    re.compile(r"file:///[^?#]*"),
    re.compile(r"(s3|gs|gcs)://[A-Za-z0-9][\w.-]*(/[^?#@\\]*)?(\?region=[a-z0-9-]+)?"),
    re.compile(r"abfss?://[\w-]+@[a-z0-9]+\.(dfs|blob)\.core\.windows\.net(/[^?#@\\]*)?"),
)
_SECRET_SETTING = re.compile(r"secret|token|password|key|sig|sas|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Uri:
    """The parts of a URI.

    Args:
        scheme: in lower case.
        user: the access key on S3; "" without one.
        secret: the user's password or secret key.
        path: decoded, beginning with the bucket or host.
        settings: the query after the question mark.
    """

    scheme: str
    user: str
    secret: str
    path: str
    settings: Mapping[str, str]


def is_uri(text: str) -> bool:
    """Return whether a text is a URI and not a path.

    >>> is_uri("s3://bucket/cub"), is_uri("data/cub"), is_uri("C://x/s3://")
    (True, False, True)
    """
    return _SCHEME.match(text) is not None


def parse_uri(text: str) -> Uri:
    """Split a URI into its parts.

    Raises:
        UserError: the credentials are not percent-encoded, so their end is a guess; or there is a fragment.

    >>> parse_uri("s3://key:a%2Fb@bucket/cub 96?region=eu-west-1")
    Uri(scheme='s3', user='key', secret='a/b', path='bucket/cub 96', settings={'region': 'eu-west-1'})
    """
    scheme, user, secret, rest = _split_uri(text)
    if re.search(r"[/?#@]", secret):
        raise UserError(
            f"the credentials in {without_credentials(text)} are not percent-encoded (/ is %2F, @ is %40); "
            "encode them, or better set the store's environment variables instead"
        )
    if "#" in rest:
        raise UserError(
            f"{without_credentials(text)} is followed by #, which begins a fragment and names no file; "
            "write %23 for a # in a name"
        )
    path, _, query = rest.partition("?")
    return Uri(scheme, unquote(user), unquote(secret), unquote(path).rstrip("/"), dict(parse_qsl(query)))


def names_a_server(text: str) -> bool:
    """Return whether a path or a URI chooses the server that it is read from, or brings credentials.

    Of a record, such as a run's `study.json`, only texts that do not are used: a file from elsewhere could otherwise
    have requests sent, and signed with the reader's key, to any host.

    >>> [names_a_server(text) for text in ("data/cub", "file:///data/cub", "s3://bucket/cub?region=eu-west-1")]
    [False, False, False]
    >>> names_a_server("s3://bucket/cub?endpoint_override=10.0.0.7"), names_a_server("http://10.0.0.7/cub")
    (True, True)
    """
    return is_uri(text) and not any(pattern.fullmatch(text) for pattern in _PLAIN)


def without_credentials(text: str) -> str:
    """Remove the credentials and the fragment from a text that is, or ends in, a URI. Return any other text as it is.

    >>> without_credentials("--data=s3://key:secret@bucket/cub?region=eu-west-1&session_token=abc")
    '--data=s3://bucket/cub?region=eu-west-1'
    >>> without_credentials("abfs://container:password@account.dfs.core.windows.net/cub")
    'abfs://container@account.dfs.core.windows.net/cub'
    """
    match = _SCHEME.search(text)
    if match is None:
        return text
    scheme, user, _, rest = _split_uri(text[match.start() :])
    path, _, query = rest.partition("#")[0].partition("?")
    settings = [item for item in query.split("&") if item and not _SECRET_SETTING.search(item.partition("=")[0])]
    # On S3 the user is an access key, half of a secret. Elsewhere it is part of the name, like Azure's containers.
    shown_user = f"{user}@" if user and scheme != "s3" else ""
    return f"{text[: match.end()]}{shown_user}{path}{'?' if settings else ''}{'&'.join(settings)}"


def join_uri(text: str, name: str) -> str:
    """Return the URI, or path, of a file in the directory that `text` names.

    >>> join_uri("s3://bucket/cub/?region=eu-west-1", "manifest.json")
    's3://bucket/cub/manifest.json?region=eu-west-1'
    """
    if not is_uri(text):
        return os.path.join(text, name)
    path, mark, query = text.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _split_uri(text: str) -> tuple[str, str, str, str]:
    """Return scheme, user, secret and the rest of a URI, not decoded."""
    match = _SCHEME.match(text)
    assert match is not None
    scheme = match[1].lower()
    rest = text[match.end() :]
    if user := _USER.match(rest):
        return scheme, user[1], "", rest[user.end() :]
    # S3 has no ports: digits after a colon begin a secret there.
    if (scheme == "s3" or not _PORT.match(rest)) and (credentials := _USER_AND_SECRET.match(rest)):
        return scheme, credentials[1], credentials[2], rest[credentials.end() :]
    return scheme, "", "", rest
