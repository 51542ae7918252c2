"""Small networks and float64 arithmetic, as the tests of tasks have them."""

from ..tasks.conftest import double, tiny, tiny_taps

__all__ = ["double", "tiny", "tiny_taps"]
