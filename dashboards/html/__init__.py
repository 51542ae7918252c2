"""Output formats: escaped HTML, the page skeleton, embedded figures, numbers as text, and tables in every format.

Other folders import the names below; `formats`, `page_parts` and `verdicts` are used as modules.
"""

from dashboards.html import formats, markup, page_parts, verdicts
from dashboards.html.documents import document, embed, plain_document
from dashboards.html.markup import (
    EmbeddedFigure,
    Markup,
    Section,
    breakable_name,
    data_block,
    escape,
    figures_in,
    join,
    number_cell,
    section,
    table_element,
    tag,
)
from dashboards.html.table import Cell, Column, FirstThatFits, Table, csv_value

__all__ = [
    "Cell",
    "Column",
    "EmbeddedFigure",
    "FirstThatFits",
    "Markup",
    "Section",
    "Table",
    "breakable_name",
    "csv_value",
    "data_block",
    "document",
    "embed",
    "escape",
    "figures_in",
    "formats",
    "join",
    "markup",
    "number_cell",
    "page_parts",
    "plain_document",
    "section",
    "table_element",
    "tag",
    "verdicts",
]
