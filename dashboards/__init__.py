"""What people look at: reports of ablations and searches, comparisons of runs, galleries, and the live page.

Everything is drawn from a run directory; neither torch nor Ray is imported.
"""
