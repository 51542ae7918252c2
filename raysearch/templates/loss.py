"""Does a margin loss retrieve better than the built-in ones?

raysearch sweep STUDY_FILE --dry-run     what will run
raysearch sweep STUDY_FILE               run it on the embedded data set, and write the report
raysearch sweep STUDY_FILE --data shards --profile paper     on your own images, made by raysearch ingest
"""

from dataclasses import dataclass

from torch import pdist

from raysearch import Ablation, choice


@dataclass
class MarginSettings:
    """Settings of the loss: the config paths `my.margin` and so on, also for --set and factors."""

    margin: float = 4.0


def margin_loss(outputs, labels, settings: MarginSettings):
    """Pull images of one class together, and push others apart up to a margin.

    outputs: (B, bits) with gradient; their signs become the codes. labels: (B,). Returns a scalar.
    """
    distance = pdist(outputs).square()
    unlike = pdist(labels[:, None].float()) > 0
    pull = distance[~unlike].sum()
    push = (settings.margin - distance[unlike]).clamp(min=0).sum()
    return (pull + push) / len(distance)


study = Ablation(
    question="Does the margin loss retrieve better than the built-in ones?",
    task="retrieval",
    base={"hash.bits": 16},
    reference={"hash.method": "dsh"},  # what the other variants are compared with
    factors=[
        choice(
            "method",
            {
                "DSH": {"hash.method": "dsh"},
                "HashNet": {"hash.method": "hashnet"},
                "Mine": {"hash.method": "STUDY_NAME:margin_loss"},
            },
        ),
    ],
    metric="map",
    seeds=3,
)
