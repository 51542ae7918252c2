"""FCAENet's table 1 whole: eleven methods that run and two that are cited, at four code lengths, on five data sets.

python -m raysearch.sweep fcaenet_table1 --profile paper --data CUB=shards/cub --data Aircraft=shards/aircraft

The other sets of the paper are NABirds, VegFru and Food-101. The report has a column for each set and code length, with
the published numbers of that set. A single `--data` runs one part of the table. On NABirds and VegFru the paper profile
draws 4,000 images per iteration, as the paper does.
Methods and cells are those of `hashing_baselines`, with five seeds instead of three.
"""

from dataclasses import replace

from search_spaces import hashing_baselines

study = replace(
    hashing_baselines.study,
    question="Does FCAENet retrieve better than twelve other hashing methods, on five data sets and at four lengths?",
    seeds=5,
)
