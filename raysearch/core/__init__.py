"""Parts that every layer uses: errors, registries, atomic files, locks, background threads, logs and command lines.

Nothing here knows a data set, a model or a study.
"""
