"""How an ablation is judged: by its whole plan or at looks, in the answer's sentence, the table of looks and the power.

`judgement` holds the verdicts of a run. The other modules put them into words and figures.
"""
