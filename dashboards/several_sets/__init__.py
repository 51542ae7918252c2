"""The report of an ablation on several data sets: one table with methods in rows and sets in columns, and mean ranks.

Each set also has the ordinary page of an ablation, drawn from the same judgement.
"""
