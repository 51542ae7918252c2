"""Read SRC by a layout, and account for everything else that is in it."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from raysearch.core import UserError
from raysearch.data import reading_account, shards, source_tree
from raysearch.data.layouts.layout import Layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.source_tree import LEADS_OUT, Entry


def read_source(
    layout: Layout, src: str, test_fraction: float | None = None, follow_links: bool = False
) -> tuple[Listing, reading_account.ReadingAccount]:
    """Return the listing of SRC, and the account of what else is there.

    Args:
        layout: the layout of SRC.
        src: directory of the data set, or what the layout takes instead.
        test_fraction: share of each class for testing; None for the default.
        follow_links: also read links that lead out of SRC.

    Returns:
        The listing, without images that are links out of SRC. The account has the listing's samples as read; its
        corrupt images are not in it, since `shards.write_shards` adds them together with its own.

    Raises:
        UserError: the layout cannot read SRC, SRC is the OUT of an ingest, or all images are links out of it.
    """
    root = os.path.abspath(src)
    if source_tree.is_data_set(root):
        raise UserError(f"SRC {src} is a data set of shards already ({shards.MANIFEST}); it needs no ingest")
    listing = layout.read(src, test_fraction)
    files = [shards.loader_file(sample.load) for sample in listing]
    if not os.path.isdir(root) or (listing.samples and not any(files)):  # such as drawings
        return listing, reading_account.account_of(len(listing), listing.unused, listing.used)
    below_root = _path_below(root)
    prefix = "" if listing.base is None else below_root(f"{os.path.abspath(listing.base)}/")
    paths = [below_root(file) if file else prefix + sample.source for file, sample in zip(files, listing, strict=True)]
    entries = list(source_tree.walk(root, follow_links))
    if listing.corrupt and not listing.samples:
        _refuse_lists_without_files(src, prefix, listing, entries)
    if outside := {entry.path for entry in entries if entry.reason == LEADS_OUT}:
        leads_out = _is_in(outside)
        inside = [not leads_out(path) for path in paths]
        if listing.samples and not any(inside):
            raise UserError(
                f"all images of SRC {src} are links that lead out of it (first: {paths[0]}); --follow-links reads them"
            )
        samples = tuple(sample for sample, is_inside in zip(listing.samples, inside, strict=True) if is_inside)
        paths = [path for path, is_inside in zip(paths, inside, strict=True) if is_inside]
        listing = replace(listing, samples=samples, classes=_without_empty(listing, samples))
    used_files = [prefix + path for path in listing.used]
    used = {*paths, *used_files, *(prefix + image.source for image in listing.corrupt)}
    of_layout = {
        prefix + entry.name: entry.reason for entry in listing.unused if entry.kind in ("file", "folder", "image")
    }
    is_used = _is_in(used_files)
    others = (entry for entry in entries if not is_used(entry.path))
    unread = source_tree.unread(others, used, lambda path: _reason_of(of_layout, path), listing.rest)
    not_files = (
        reading_account.Unused(entry.kind, prefix + entry.name, entry.reason)
        for entry in listing.unused
        if entry.kind in ("row", "member")
    )
    return listing, reading_account.account_of(len(listing), [*unread, *not_files], used_files)


def _refuse_lists_without_files(src: str, prefix: str, listing: Listing, entries: Sequence[Entry]) -> None:
    """Raise if none of the listed images is where the lists have it, and one is elsewhere."""
    paths = {entry.path for entry in entries}
    listed = {PurePosixPath(image.source).name: prefix + image.source for image in listing.corrupt}
    for entry in entries:
        expected = listed.get(entry.path.rpartition("/")[2])
        if expected and expected not in paths:
            raise UserError(
                f"SRC {src} has none of the {len(listing.corrupt):,} images of its lists where they should be: "
                f"{expected} is at {entry.path}. Move the images, or change the paths"
            )


def _path_below(root: str) -> Callable[[str], str]:
    start = root.rstrip("/") + "/"
    return lambda path: path.removeprefix(start)


def _is_in(paths: Iterable[str]) -> Callable[[str], bool]:
    """Return whether a path is one of these, or below one of them."""
    known = {path.rstrip("/") for path in paths}
    return lambda path: bool(known) and any(ancestor in known for ancestor in _path_and_folders(path))


def _reason_of(reasons: Mapping[str, str], path: str) -> str:
    if not reasons:
        return ""
    return next((reasons[ancestor] for ancestor in _path_and_folders(path) if ancestor in reasons), "")


def _path_and_folders(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _without_empty(listing: Listing, samples: tuple[shards.Sample, ...]) -> tuple[str, ...] | None:
    labels = {sample.label for sample in samples}
    return None if listing.classes is None else tuple(name for name in listing.classes if name in labels)
