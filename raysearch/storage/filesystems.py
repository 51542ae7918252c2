"""From a URI to a file system: how stores are reached, how long they may take, and what their errors mean.

pyarrow reads `s3://bucket/folder`, `gs://`, `abfs://`, `hdfs://` and `file://`. fsspec reads other schemes, if the
package for the scheme is installed. Each store finds its own credentials: in environment variables, profiles, or the
machine's role. AWS_ENDPOINT_URL or `?endpoint_override=http://host:port` names an S3 server other than Amazon's.

Departure from `pyarrow.fs.FileSystem.from_uri`: its clients retry for minutes. Ours give up within about ten seconds
if the host does not answer. Without credentials, a machine outside a cloud gives up within half a minute.
"""

import contextlib
import functools
import os
import re
import socket

import fsspec
import pyarrow as pa
from pyarrow import fs

from raysearch.core import UserError, nearest
from raysearch.storage import uris

CONNECT_TIMEOUT = 3.0  # seconds; pyarrow's S3 client tries three times
REQUEST_TIMEOUT = 10.0  # seconds without a byte
SCHEMES = ("s3", "gs", "abfs", "hdfs", "file")
_ARROW_SCHEMES = (*SCHEMES, "gcs", "abfss", "viewfs")
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
        "access denied; check the store's credentials, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3",
    ),
)


def find_filesystem(location: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or a URI, and the path in it.

    Raises:
        UserError: an unknown scheme, a URI without a bucket, or credentials that cannot be read.

    >>> find_filesystem("/tmp/runs")[1], find_filesystem("file:///tmp/runs/")[1]
    ('/tmp/runs', '/tmp/runs')
    """
    if not uris.is_uri(location):
        return fs.LocalFileSystem(), os.path.abspath(location)
    uri = uris.parse_uri(location)
    shown = uris.without_credentials(location)
    if uri.scheme in ("s3", "gs", "gcs") and not uri.path.partition("/")[0]:
        raise UserError(f"{shown} names no bucket; give {uri.scheme}://BUCKET/FOLDER")
    try:
        if uri.scheme == "s3":
            return _s3_filesystem(uri, shown), uri.path
        if uri.scheme in ("gs", "gcs"):
            return _google_filesystem(location, uri)
        if uri.scheme not in _ARROW_SCHEMES:
            return _fsspec_filesystem(location, uri.scheme, shown)
        filesystem, path = fs.FileSystem.from_uri(location)
    except UserError:
        raise
    except pa.ArrowNotImplementedError:  # this pyarrow was built without the scheme
        return _fsspec_filesystem(location, uri.scheme, shown)
    except (OSError, ValueError, ImportError) as error:  # pyarrow's own errors are ValueErrors
        reason = describe_fault(error).replace(location, shown)
        raise UserError(f"cannot reach '{shown}': {reason}") from None
    return filesystem, path.rstrip("/")


def describe_fault(error: Exception) -> str:
    """Explain a store's error in a few words.

    >>> describe_fault(OSError("When reading 'x': AWS Error NETWORK_CONNECTION during HeadObject: curlCode: 7, ..."))
    'the host does not answer'
    """
    return known_fault(error) or " ".join(str(error).split())[:200] or type(error).__name__


def known_fault(error: Exception) -> str | None:
    """Explain an error that comes from the network or the store; return None for any other."""
    return next((reason for pattern, reason in _FAULTS if re.search(pattern, str(error))), None)


def _s3_filesystem(uri: uris.Uri, shown: str) -> fs.S3FileSystem:
    for setting in uri.settings:
        if setting not in _S3_SETTINGS:
            raise UserError(f"unknown setting {setting!r} in {shown}{nearest(setting, _S3_SETTINGS)}")
    if bool(uri.user) != bool(uri.secret):
        raise UserError(f"{shown} has half of a key; give s3://KEY:SECRET@BUCKET, or better environment variables")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, host = uri.settings.get("endpoint_override", endpoint).rstrip("/").rpartition("://")
    # Other servers than Amazon's have no regions, and their buckets are unknown to Amazon.
    default_region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    region = uri.settings.get("region") or (default_region if host else _bucket_region(uri.path.partition("/")[0]))
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
def _bucket_region(bucket: str) -> str:
    """Ask Amazon for a bucket's region, which never changes."""
    return fs.resolve_s3_region(bucket)


def _google_filesystem(location: str, uri: uris.Uri) -> tuple[fs.FileSystem, str]:
    """Return Google's file system, after a short connection of our own.

    Google's client waits minutes for its first connection, whatever its limit on retries.
    """
    indirect = ("HTTPS_PROXY", "https_proxy", "STORAGE_EMULATOR_HOST")
    if not any(name in os.environ for name in indirect):
        host, _, port = uri.settings.get("endpoint_override", "storage.googleapis.com:443").partition(":")
        with contextlib.closing(socket.create_connection((host, int(port or 443)), timeout=CONNECT_TIMEOUT)):
            pass
    limit = "" if "retry_limit_seconds" in uri.settings else f"{'&' if uri.settings else '?'}retry_limit_seconds=10"
    filesystem, path = fs.FileSystem.from_uri(location + limit)
    return filesystem, path.rstrip("/")


def _fsspec_filesystem(location: str, scheme: str, shown: str) -> tuple[fs.FileSystem, str]:
    if scheme not in fsspec.available_protocols():
        raise UserError(f"cannot reach '{shown}': unknown kind of URI {scheme!r}{nearest(scheme, SCHEMES)}")
    # Without the cache, since a directory may change after it was listed.
    filesystem, path = fsspec.core.url_to_fs(location, use_listings_cache=False)
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path.rstrip("/")
