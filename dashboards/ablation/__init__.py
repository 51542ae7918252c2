"""The report of an ablation: answer, table of variants, effects, learning curves, cost, failures, provenance.

`view` prepares the numbers; the other files draw them.
"""
