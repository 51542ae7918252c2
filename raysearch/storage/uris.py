"""URIs as people give them: their parts, and what of them may be shown.

A URI may hold credentials (`s3://key:secret@bucket/cub`). Nothing that is printed, logged or kept in a record may: it
goes through `shown`, which leaves out more rather than less where a secret was not percent-encoded.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from raysearch.core.errors import UserError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_USER = re.compile(r"([^/?#:@]*)@")
_USER_AND_SECRET = re.compile(r"([^/?#:@]*):(.*)@")  # to the last @: what was not encoded may hold any character
_PORT = re.compile(r"[^/?#:@]*:\d+([/?#]|$)")  # host:port/path@version, where no user is given
_SECRET_SETTING = re.compile(r"secret|token|password|key|sig|sas|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Uri:
    """Args:
    scheme: in small letters.
    user: an access key on S3; "" where there is none.
    secret: of the user.
    path: with the bucket or host before it, decoded.
    settings: after the question mark.
    """

    scheme: str
    user: str
    secret: str
    path: str
    settings: Mapping[str, str]


def is_uri(text: str) -> bool:
    """Whether a text is a URI and no path.

    >>> is_uri("s3://bucket/cub"), is_uri("data/cub"), is_uri("C://x/s3://")
    (True, False, True)
    """
    return _SCHEME.match(text) is not None


def parse_uri(text: str) -> Uri:
    """The parts of a URI.

    Raises UserError: credentials that are not percent-encoded, so that where they end is a guess.

    >>> parse_uri("s3://key:a%2Fb@bucket/cub 96?region=eu-west-1")
    Uri(scheme='s3', user='key', secret='a/b', path='bucket/cub 96', settings={'region': 'eu-west-1'})
    """
    scheme, user, secret, rest = _split(text)
    if re.search(r"[/?#@]", secret):
        raise UserError(
            f"the credentials in {without_credentials(text)} are not percent-encoded (/ is %2F, @ is %40); "
            "better leave them out and set the store's environment variables"
        )
    path, _, query = rest.partition("?")
    return Uri(scheme, unquote(user), unquote(secret), unquote(path).rstrip("/"), dict(parse_qsl(query)))


def without_credentials(text: str) -> str:
    """A text that is or ends in a URI, without the credentials in it; any other text as it is.

    >>> without_credentials("--data=s3://key:secret@bucket/cub?region=eu-west-1&session_token=abc")
    '--data=s3://bucket/cub?region=eu-west-1'
    >>> without_credentials("abfs://container:password@account.dfs.core.windows.net/cub")
    'abfs://container@account.dfs.core.windows.net/cub'
    """
    found = _SCHEME.search(text)
    if found is None:
        return text
    scheme, user, _, rest = _split(text[found.start() :])
    path, _, query = rest.partition("?")
    kept = [one for one in query.split("&") if one and not _SECRET_SETTING.search(one.partition("=")[0])]
    # An access key is half of a secret; elsewhere the user is part of the name, as Azure's containers are.
    named = f"{user}@" if user and scheme != "s3" else ""
    return f"{text[: found.end()]}{named}{path}{'?' if kept else ''}{'&'.join(kept)}"


def join_uri(text: str, name: str) -> str:
    """The URI, or path, of what lies in one.

    >>> join_uri("s3://bucket/cub/?region=eu-west-1", "manifest.json")
    's3://bucket/cub/manifest.json?region=eu-west-1'
    """
    if not is_uri(text):
        return os.path.join(text, name)
    path, mark, query = text.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _split(text: str) -> tuple[str, str, str, str]:
    """Scheme, user, secret and the rest of a URI, as they stand there."""
    found = _SCHEME.match(text)
    assert found is not None
    scheme, rest = found[1].lower(), text[found.end() :]
    if plain := _USER.match(rest):
        return scheme, plain[1], "", rest[plain.end() :]
    # S3 has no ports: digits after a colon are the beginning of a secret there
    if (scheme == "s3" or not _PORT.match(rest)) and (both := _USER_AND_SECRET.match(rest)):
        return scheme, both[1], both[2], rest[both.end() :]
    return scheme, "", "", rest
