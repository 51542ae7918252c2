"""Sections of a few-shot gallery: episodes, cross-image attention, matched pixels, and features before and after.

`sections` draws them in order. Imports neither torch nor Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.gallery.elements import Detail, DisplayNames
from dashboards.gallery.fewshot import attention, episodes, matching, planes
from dashboards.html import Markup

if TYPE_CHECKING:  # making these needs torch; drawing them does not
    from raysearch.inspection.fewshot import EpisodeGroup

__all__ = ["sections"]


def sections(groups: list[EpisodeGroup], names: DisplayNames, detail: Detail) -> list[Markup | None]:
    """Draw the sections of the page.

    Args:
        groups: the inspected cells, grouped by the episodes that they met.
        names: the names of classes and variants.
        detail: the detail of the pictures.
    """
    return [
        episodes.first_episodes(groups, names, detail),
        episodes.differing_episodes(groups, names, detail),
        attention.attention_section(groups, names, detail),
        matching.matching_section(groups, names, detail),
        planes.planes_section(groups, names),
    ]
