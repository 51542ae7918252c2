"""The page of an ablation: its header and its sections, in order."""

from dashboards.ablation import cost, factors, glossary, header, provenance, sections, variants_table
from dashboards.ablation.judging import looks, power_section
from dashboards.ablation.view import View
from dashboards.report_sections import draw_page, register_sections

register_sections(
    "ablation",
    {
        "variants": variants_table.variants,
        "effects": sections.effects,
        "looks": looks.looks_section,
        "episodes": sections.same_episodes,
        "factors": factors.factors_section,
        "ties": sections.tie_order,
        "learning": sections.learned,
        "cost": cost.cost_section,
        "power": power_section.power_section,
        "failures": sections.failures,
        "provenance": provenance.provenance,
        "definitions": glossary.definitions,
    },
)


def page(run: View, gallery: bool = False) -> str:
    """Return the HTML of the page; `gallery` is whether the run has a gallery to link to."""
    return draw_page("ablation", run, header.opening(run, gallery))
