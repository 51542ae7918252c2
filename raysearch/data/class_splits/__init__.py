"""Which classes train, validate and test where splits share no class: shipped lists, rules, and a user's CSV file.

`partition_of` applies a split to a data set and checks it for leaks.
"""

from raysearch.data.class_splits.class_names import match_class_names
from raysearch.data.class_splits.partition import (
    AUTO,
    OWN,
    OWN_HELD_OUT,
    PARTS,
    RULE,
    Partition,
    data_identity,
    divide_classes,
    is_named,
    leakage_warning,
    partition_identity,
    partition_of,
)
from raysearch.data.class_splits.splits import (
    ELSEWHERE,
    RULES,
    SHIPPED,
    Split,
    known_splits,
    load_split,
    shipped_parts,
    split_hash,
    split_identity,
)

__all__ = [
    "AUTO",
    "ELSEWHERE",
    "OWN",
    "OWN_HELD_OUT",
    "PARTS",
    "RULE",
    "RULES",
    "SHIPPED",
    "Partition",
    "Split",
    "data_identity",
    "divide_classes",
    "is_named",
    "known_splits",
    "leakage_warning",
    "load_split",
    "match_class_names",
    "partition_identity",
    "partition_of",
    "shipped_parts",
    "split_hash",
    "split_identity",
]
