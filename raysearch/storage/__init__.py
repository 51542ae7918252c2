"""A file anywhere: a local path or a URI, the file systems behind them, local copies, and the cache.

Everything above reads and writes through a location and never asks where it is.
"""
