"""The page of an ablation: its header and its sections, in order."""

from dashboards.ablation import factors, glossary, header, paired_episodes, provenance, sections, variants_table
from dashboards.ablation.view import View
from dashboards.html import document
from dashboards.report_sections import draw_sections, register_sections

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
    """Return the HTML of the page.

    Args:
        run: the ablation.
        gallery: whether the run has a gallery to link to.

    Raises:
        UserError: a section from another file comes after one that does not exist.
    """
    title = f"{run.study.study}: {run.study.question or 'report'}"
    return document(title, header.opening(run, gallery), *draw_sections("ablation", run))
