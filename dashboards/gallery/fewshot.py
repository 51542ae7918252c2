"""The pictures of a few-shot run: its episodes, where images look in each other, what is matched, what moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.gallery import fewshot_attention, fewshot_episodes, fewshot_matching, fewshot_planes
from dashboards.gallery.names import Names
from dashboards.gallery.pictures import Detail
from dashboards.html.markup import Markup

if TYPE_CHECKING:  # what makes these needs torch, which drawing them does not
    from raysearch.inspection.fewshot import Group


def sections(exhibit: list[Group], names: Names, detail: Detail) -> list[Markup | None]:
    """The parts of the page.

    Args:
        exhibit: the cells, those together that met the same episodes.
        names: of classes and variants.
        detail: of the pictures.
    """
    parts = (
        fewshot_episodes.first(exhibit, names, detail),
        fewshot_episodes.differing(exhibit, names, detail),
        fewshot_attention.attention(exhibit, names, detail),
        fewshot_matching.matches(exhibit, names, detail),
        fewshot_planes.planes(exhibit, names),
    )
    return list(parts)
