"""HelixFormer and its baseline with 5 shots, by the released schedule of 5 shots (HelixFormer, tables 1 to 3).

python -m raysearch.sweep helixformer_tables_5shot --profile paper --data shards/dogs

With 5 shots the released program compares other pairs than the paper describes; see `docs/methods.md`.
`--set helix.pairs=joined` compares those.
"""

from dataclasses import replace

from raysearch.studies.configs import presets
from search_spaces import helixformer_tables

PAPER = presets.settings("helixformer_5shot", "fewshot")
del PAPER["model.method"]  # the study varies it

ONE_SHOT = helixformer_tables.study
study = replace(
    ONE_SHOT,
    question="What does HelixFormer add to a relation head with 5 shots?",
    profiles={"paper": PAPER, "laptop": {**ONE_SHOT.profiles["laptop"], "episodes.shots": 5}},
)
