"""The overview of a folder of runs: one page with a row per run, by which a reader finds a question and its answer.

`rows` reads the runs, and `page` draws them. A run that cannot be read is a row with the reason.
"""
