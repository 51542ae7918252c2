"""A figure in the page: its place, the JSON that a script draws, a caption, and a description for screen readers."""

from typing import Any

import plotly.graph_objects as go
import plotly.io

from dashboards.html.markup import Markup, data_block, tag


def embed(figure: go.Figure, key: str, caption: Any, says: str) -> Markup:
    """Return a figure with its caption.

    Args:
        figure: the figure; its layout has a height in pixels.
        key: id of the element on the page.
        caption: text below it, or None.
        says: description that screen readers read.
    """
    return tag(
        "figure",
        tag("div", id=key, role="img", aria_label=says, class_="plot", style=f"height:{int(figure.layout.height)}px"),
        data_block(key, plotly.io.to_json(figure, validate=False)),
        tag("figcaption", caption) if caption else None,
    )
