"""Durations as people read them."""


def format_seconds(seconds: float) -> str:
    """Return a duration in its two largest units.

    >>> [format_seconds(number) for number in (0.42, 8, 8.04, 8.1, 38.2, 200, 7500, 273600)]
    ['0.42 s', '8 s', '8 s', '8.1 s', '38 s', '3 min 20 s', '2 h 05 min', '3 d 4 h']
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
