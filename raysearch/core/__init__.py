"""What every layer stands on: errors, files replaced whole, background threads, terminal text that is safe to print.

Nothing here knows a data set, a model or a study.
"""
