"""What is drawn for a wide terminal and for a narrow one: the first drawing that fits."""

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_ENDLESS = 10_000  # columns


@dataclass(frozen=True)
class Fitting:
    """The first drawing, or the second where that is too wide.

    >>> from rich.text import Text
    >>> Console(width=4).print(Fitting(Text("wide words"), Text("few")))
    few
    """

    wide: RenderableType
    narrow: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wanted = console.measure(self.wide, options=options.update(max_width=_ENDLESS)).maximum
        yield self.wide if wanted <= options.max_width else self.narrow
