"""FCAENet's table 1 whole: eleven methods that run and two that are cited, at four code lengths, on five data sets.

python -m raysearch.sweep fcaenet_table1 --profile paper --data shards/cub

Run it once on each of CUB-200-2011, FGVC-Aircraft, NABirds, VegFru and Food-101. The report shows the published numbers
of the run's own data set. On NABirds and VegFru the paper profile draws 4,000 images per iteration, as the paper does.
Methods and cells are those of `hashing_baselines`, with five seeds instead of three.
"""

from dataclasses import replace

from search_spaces import hashing_baselines

study = replace(
    hashing_baselines.study,
    question="Does FCAENet retrieve better than twelve other hashing methods, on five data sets and at four lengths?",
    seeds=5,
)
