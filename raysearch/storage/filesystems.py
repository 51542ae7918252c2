"""URI -> file system: the one module that knows how stores are reached, how long they may take, what their faults mean.

`s3://bucket/folder`, `gs://`, `abfs://`, `hdfs://` and `file://` are pyarrow's; what it does not know is fsspec's, if
the package for it is installed. Credentials are the store's own business: environment variables, profiles, the
machine's role. An S3 server that is not Amazon's is named by AWS_ENDPOINT_URL or `?endpoint_override=http://host:port`.

Departure from `pyarrow.fs.FileSystem.from_uri`: its clients try again for minutes. Ours give up a host that does not
answer within some ten seconds, and a machine that is no cloud's within half a minute where no credentials are set.
"""

import contextlib
import functools
import os
import re
import socket

import fsspec
import pyarrow as pa
from pyarrow import fs

from raysearch.core.errors import UserError, nearest
from raysearch.storage import uris

CONNECT_TIMEOUT, REQUEST_TIMEOUT = (
    3.0,
    10.0,
)  # seconds for a connection and for a byte to come; pyarrow's S3 client tries three times
SCHEMES = ("s3", "gs", "abfs", "hdfs", "file")
_ARROWS = (*SCHEMES, "gcs", "abfss", "viewfs")
_S3_SETTINGS = ("endpoint_override", "region", "scheme")
_FAULTS = (
    (r"NO_SUCH_BUCKET|Bucket '.*' not found|bucket does not exist", "no such bucket"),
    (
        r"NETWORK_CONNECTION|CURL error|UNAVAILABLE|[Cc]onnection ?(refused|reset|error|timed)|resolve host",
        "the host does not answer",
    ),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN|UNRECOGNIZED_CLIENT"
        r"|EXPIRED_TOKEN|ExpiredToken|HTTP (response code|status code:?) 40[13]|HTTP status 40[13]|PERMISSION_DENIED"
        r"|UNAUTHENTICATED|access token|[Pp]ermission denied|AuthorizationFail",
        "access denied; check the store's credentials, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3",
    ),
)


def find_filesystem(location: str) -> tuple[fs.FileSystem, str]:
    """A file system and the path in it, of a path or a URI.

    Raises UserError: an unknown kind of URI, one that names no bucket, credentials that cannot be read.

    >>> find_filesystem("/tmp/runs")[1], find_filesystem("file:///tmp/runs/")[1]
    ('/tmp/runs', '/tmp/runs')
    """
    if not uris.is_uri(location):
        return fs.LocalFileSystem(), os.path.abspath(location)
    uri, shown = uris.parse_uri(location), uris.without_credentials(location)
    if uri.scheme in ("s3", "gs", "gcs") and not uri.path.partition("/")[0]:
        raise UserError(f"{shown} names no bucket; give {uri.scheme}://BUCKET/FOLDER")
    try:
        if uri.scheme == "s3":
            return _s3(uri, shown), uri.path
        if uri.scheme in ("gs", "gcs"):
            return _gs(location, uri)
        if uri.scheme not in _ARROWS:
            return _of_fsspec(location, uri.scheme, shown)
        files, root = fs.FileSystem.from_uri(location)
    except UserError:
        raise
    except pa.ArrowNotImplementedError:  # pyarrow was built without it
        return _of_fsspec(location, uri.scheme, shown)
    except (OSError, ValueError, ImportError) as error:  # pyarrow's own errors are ValueErrors
        said = describe_fault(error).replace(location, shown)
        raise UserError(f"cannot reach '{shown}': {said}") from None
    return files, root.rstrip("/")


def describe_fault(error: Exception) -> str:
    """What a store's error means to the person who gave the URI, in a few words.

    >>> describe_fault(OSError("When reading 'x': AWS Error NETWORK_CONNECTION during HeadObject: curlCode: 7, ..."))
    'the host does not answer'
    """
    return known_fault(error) or " ".join(str(error).split())[:200] or type(error).__name__


def known_fault(error: Exception) -> str | None:
    """As `reason`, or None of an error that is not known to be the network's or the store's."""
    return next((said for pattern, said in _FAULTS if re.search(pattern, str(error))), None)


def _s3(uri: uris.Uri, shown: str) -> fs.S3FileSystem:
    for setting in uri.settings:
        if setting not in _S3_SETTINGS:
            raise UserError(f"unknown setting {setting!r} in {shown}{nearest(setting, _S3_SETTINGS)}")
    if bool(uri.user) != bool(uri.secret):
        raise UserError(f"{shown} has half of a key; give s3://KEY:SECRET@BUCKET, or better environment variables")
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, host = uri.settings.get("endpoint_override", named).rstrip("/").rpartition("://")
    # A server that is not Amazon's has no regions, and asking Amazon for this one's would be wrong.
    usual = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    region = uri.settings.get("region") or (usual if host else _region(uri.path.partition("/")[0]))
    return fs.S3FileSystem(
        access_key=uri.user or None,
        secret_key=uri.secret or None,
        region=region,
        scheme=uri.settings.get("scheme") or scheme or "https",
        endpoint_override=host or None,
        connect_timeout=CONNECT_TIMEOUT,
        request_timeout=REQUEST_TIMEOUT,
    )


@functools.cache
def _region(bucket: str) -> str:
    """Where a bucket lies, which never changes; this asks Amazon."""
    return fs.resolve_s3_region(bucket)


def _gs(location: str, uri: uris.Uri) -> tuple[fs.FileSystem, str]:
    """Google's client waits minutes for a connection, whatever its limit on trying again: so one is tried before."""
    known = ("HTTPS_PROXY", "https_proxy", "STORAGE_EMULATOR_HOST")
    if not any(name in os.environ for name in known):
        host, _, port = uri.settings.get("endpoint_override", "storage.googleapis.com:443").partition(":")
        with contextlib.closing(socket.create_connection((host, int(port or 443)), timeout=CONNECT_TIMEOUT)):
            pass
    patience = "" if "retry_limit_seconds" in uri.settings else f"{'&' if uri.settings else '?'}retry_limit_seconds=10"
    files, root = fs.FileSystem.from_uri(location + patience)
    return files, root.rstrip("/")


def _of_fsspec(location: str, scheme: str, shown: str) -> tuple[fs.FileSystem, str]:
    if scheme not in fsspec.available_protocols():
        raise UserError(f"cannot reach '{shown}': unknown kind of URI {scheme!r}{nearest(scheme, SCHEMES)}")
    # what was listed once may have changed since
    found, root = fsspec.core.url_to_fs(location, use_listings_cache=False)
    return fs.PyFileSystem(fs.FSSpecHandler(found)), root.rstrip("/")
