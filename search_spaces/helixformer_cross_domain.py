"""HelixFormer trained on CUB-200-2011 and tested on NABirds (table 4 of the authors' README).

python -m raysearch.ingest cub_to_nabirds birds/ shards/cross_domain
python -m raysearch.sweep helixformer_cross_domain --profile paper --data shards/cross_domain

`birds/` holds the folders `CUB_200_2011` and `nabirds` as released. All species of CUB train or validate, and all of
NABirds test. For the authors' classes, name their list: `--set data.split=classes.csv`.
"""

from dataclasses import replace

from search_spaces import helixformer_tables

study = replace(
    helixformer_tables.study,
    question="Does HelixFormer still help on birds of another data set?",
    published="helixformer/table_4_{data}",
)
