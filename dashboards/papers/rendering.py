"""Draw figures as PDF, SVG or PNG by kaleido, which runs a Chrome or Chromium without a window.

kaleido 1.x takes the browser that `kaleido_get_chrome` downloaded, else the one that BROWSER_PATH names, else a Chrome
or Chromium on PATH. Its page would load MathJax from the network; it is left out. Chromium also calls its maker's
machines when it starts. Its proxy is a port of this machine on which nothing listens, so no request leaves.
"""

import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from dashboards.papers.layout import PIXELS_PER_INCH, PaperFigure
from raysearch.core import UserError

Format = Literal["pdf", "svg", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
DOTS_PER_INCH = 600  # of a PNG; journals ask for 600 to 1,000 where lines and text are in a picture

_SECONDS = 120.0  # for a figure, on a busy machine
_NO_PROXY_LISTENS = "127.0.0.1:9"  # the discard port


def render(figures: Mapping[str, PaperFigure], format: Format) -> dict[str, bytes]:
    """Return the files of figures.

    Args:
        figures: name -> figure. Names are names of files.
        format: "pdf", "svg" or "png".

    Raises:
        UserError: kaleido or a browser is missing, or the browser fails.
    """
    kaleido = _kaleido()
    with tempfile.TemporaryDirectory(prefix="raysearch-figures-") as folder:
        paths = {name: Path(folder) / f"{index}.{format}" for index, name in enumerate(figures)}
        jobs = [_job(figure, paths[name], format) for name, figure in figures.items()]
        page = _Page(kaleido.PageGenerator(mathjax=False))
        options = {"page_generator": page, "timeout": _SECONDS, "proxy_server": _NO_PROXY_LISTENS}
        try:
            kaleido.write_fig_from_object_sync(jobs, kopts=options, cancel_on_error=True)
        except Exception as error:
            if type(error).__name__ == "ChromeNotFoundError":
                raise UserError(
                    "figures are drawn by a Chrome or Chromium, and there is none: install it (Debian, Ubuntu: "
                    "'apt install chromium'; anywhere: 'kaleido_get_chrome'), or set BROWSER_PATH to its program"
                ) from error
            words = " ".join(str(error).split())[:200]
            raise UserError(f"the browser did not draw the figures: {type(error).__name__}: {words}") from error
        return {name: path.read_bytes() for name, path in paths.items()}


class _Page:
    """The page of kaleido without margins of print: with them a figure is 6 % smaller and cut off at the bottom.

    Args:
        page: the page of kaleido.
    """

    def __init__(self, page: Any) -> None:
        self._page = page

    def generate_index(self) -> str:
        """Return the HTML of the page; kaleido asks for it."""
        style = "<style>@page { margin: 0 } #kaleido-image { display: block }</style>"
        return str(self._page.generate_index()).replace("</head>", f"{style}</head>")


def _job(figure: PaperFigure, path: Path, format: Format) -> dict[str, Any]:
    layout = figure.figure.layout
    scale = DOTS_PER_INCH / PIXELS_PER_INCH if format == "png" else 1
    options = {"format": format, "width": layout.width, "height": layout.height, "scale": scale}
    return {"fig": figure.figure.to_plotly_json(), "path": str(path), "opts": options}


def _kaleido() -> Any:
    """Import kaleido, which only those need who write figures.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("kaleido")
    except ImportError as error:
        raise UserError("figures need the package kaleido: pip install 'raysearch[figures]'") from error
