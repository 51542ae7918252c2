"""`auto`: find the layout of SRC by its files, and state the reason in a line.

Every layout looks for its own files. If one is recognized, it is used. If a layout refines a wider one (miniImageNet
and any few-shot lists), the narrower is used. If several are recognized, the user has to choose. Plain folders of
images, without other signs, are class folders.
"""

from collections.abc import Sequence
from pathlib import Path

from raysearch.core import UserError, nearest, user_code
from raysearch.data.layouts.layout import LAYOUTS, Layout
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import MANIFEST

AUTO = "auto"


def find_layout(name: str, src: str) -> tuple[Layout, str]:
    """Return the layout with a name, and for `auto` the layout of SRC with the reason.

    Raises:
        UserError: an unknown name (the message lists the known ones), or as `detect_layout`.
    """
    if name == AUTO:
        return detect_layout(src)
    if user_code.is_reference(name):
        return LAYOUTS[user_code.register_reference(name).reference], ""
    if name not in LAYOUTS:
        hint = nearest(name, [*LAYOUTS, AUTO])
        known = "" if "known:" in hint else f" Known: {', '.join([AUTO, *sorted(LAYOUTS)])}"
        raise UserError(f"unknown layout {name!r}{hint}{known}")
    return LAYOUTS[name], ""


def detect_layout(src: str) -> tuple[Layout, str]:
    """Return the layout of SRC, and the evidence for it.

    Raises:
        UserError: no directory, a data set of shards, several layouts that fit, or none; the message has the evidence
            for each, or what was looked for.
    """
    layouts = [LAYOUTS[name] for name in sorted(LAYOUTS)]
    with disk.directory(src) as root:
        if (root / MANIFEST).is_file():
            raise UserError(f"SRC {src} is a data set of shards already ({MANIFEST}); it needs no ingest")
        evidence = {layout.name: reason for layout in layouts if (reason := layout.recognize(root))}
        wider = {LAYOUTS[name].refines for name in evidence}
        evidence = {name: reason for name, reason in evidence.items() if name not in wider}
        if not evidence:
            evidence = {
                layout.name: reason
                for layout in layouts
                if layout.recognize_plain and (reason := layout.recognize_plain(root))
            }
            if evidence and (lists := sorted(path.name for path in root.glob("*.mat"))):
                raise UserError(
                    f"SRC {src} holds {lists[0]}, a list of an official release, and no release that is whole. Name "
                    f"its layout, such as cars or dogs, or {' or '.join(evidence)} if its folders are classes"
                )
    if len(evidence) > 1:
        candidates = "; ".join(f"{name} ({reason})" for name, reason in evidence.items())
        raise UserError(f"SRC {src} may be {candidates}; name one of them in place of auto")
    if not evidence and (inner := _inner_sources(root, layouts)):
        folders = "; ".join(f"{folder} ({reason})" for folder, reason in inner.items())
        raise UserError(f"SRC {src} has no layout that auto knows, but a folder in it has. Use it as SRC: {folders}")
    if not evidence and not any(disk.visible(root)):
        raise UserError(f"SRC {src} is an empty folder")
    if not evidence:
        known = "; ".join(f"{layout.name} ({layout.looks_for})" for layout in layouts if layout.looks_for)
        raise UserError(f"SRC {src} has no layout that auto knows. It looked for: {known}")
    name, reason = next(iter(evidence.items()))
    return LAYOUTS[name], reason


def _inner_sources(root: Path, layouts: Sequence[Layout], levels: int = 2) -> dict[Path, str]:
    """Return the folders below SRC that are data sets, with the evidence for them; not those below such a folder."""
    found: dict[Path, str] = {}
    for name in disk.folders(root):
        folder = root / name
        reasons = (layout.recognize(folder) for layout in layouts)
        plain = (layout.recognize_plain(folder) for layout in layouts if layout.recognize_plain)
        if reason := next(filter(None, (*reasons, *plain)), ""):
            found[folder] = reason
        elif levels > 1:
            found |= _inner_sources(folder, layouts, levels - 1)
    return found
