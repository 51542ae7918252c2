"""A figure in the page: a place, the JSON that a script draws there, a caption, and words for screen readers."""

from typing import Any

import plotly.graph_objects as go
import plotly.io

from dashboards.html.markup import Markup, data_block, tag


def embed(figure: go.Figure, key: str, caption: Any, says: str) -> Markup:
    """A figure with its caption.

    Args:
        figure: with its height.
        key: its id on the page.
        caption: below it; None for none.
        says: what is read to people who do not see it.
    """
    return tag(
        "figure",
        tag("div", id=key, role="img", aria_label=says, class_="plot", style=f"height:{int(figure.layout.height)}px"),
        data_block(key, plotly.io.to_json(figure, validate=False)),
        tag("figcaption", caption) if caption else None,
    )
