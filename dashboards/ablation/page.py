"""The page of an ablation: its header and its sections, in order."""

from dashboards.ablation import factors, glossary, header, paired_episodes, provenance, sections, variants_table
from dashboards.ablation.view import View
from dashboards.report_sections import draw_page, register_sections

register_sections(
    "ablation",
    {
        "variants": variants_table.variants,
        "effects": sections.effects,
        "episodes": paired_episodes.same_episodes,
        "factors": factors.factors,
        "ties": sections.tie_order,
        "learning": sections.learned,
        "cost": sections.cost,
        "failures": sections.failures,
        "provenance": provenance.provenance,
        "definitions": glossary.definitions,
    },
)


def page(run: View, gallery: bool = False) -> str:
    """Return the HTML of the page; `gallery` is whether the run has a gallery to link to."""
    return draw_page("ablation", run, header.opening(run, gallery))
