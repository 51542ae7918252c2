"""Colors for print: those of the page, moved so far apart in lightness that a copy in gray keeps them apart.

The page's colors are those of Okabe and Ito, which differ in hue more than in lightness. In print they keep their hue,
since captions name it, and get darker or lighter.
"""

import re
from typing import Any

from dashboards.ablation import figures

TEXT = "#000000"
GRID = "#dcdcdc"
PAPER = "#ffffff"
PRINTED = {  # color of the page -> color in print, from dark to light
    figures.BLUE: "#084594",
    figures.GREY: "#666666",
    figures.VERMILLION: "#d55e00",
    figures.GREEN: "#2fae82",
    "#cc79a7": "#e39cc2",
    "#e69f00": "#f4c04a",
    "#56b4e9": "#a9dcf8",
}
_CHANNELS = re.compile(r"rgba?\((\d+), ?(\d+), ?(\d+)")


def print_color(color: str) -> str:
    """Return a color of the page as it is printed; other texts are returned as they are.

    >>> print_color("#2b83ba"), print_color("rgba(43,131,186,0.3)"), print_color("mAP")
    ('#084594', 'rgba(8,69,148,0.3)', 'mAP')
    """
    if color in PRINTED:
        return PRINTED[color]
    match = _CHANNELS.match(color)
    if match is None:
        return color
    code = "#" + "".join(f"{int(channel):02x}" for channel in match.groups())
    if code not in PRINTED:
        return color
    channels = ",".join(str(int(PRINTED[code][at : at + 2], 16)) for at in (1, 3, 5))
    return color.replace(color[color.index("(") + 1 : match.end()], channels)


def print_colors(value: Any) -> Any:
    """Return a figure's JSON with its colors as they are printed. Texts that name no color stay."""
    if isinstance(value, dict):
        return {key: print_colors(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [print_colors(entry) for entry in value]
    return print_color(value) if isinstance(value, str) else value
