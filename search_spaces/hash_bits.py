"""Retrieval accuracy against the length of the hash code.

python -m raysearch.sweep hash_bits
"""

from raysearch import Ablation, factor

study = Ablation(
    question="How many bits does a code need?",
    task="retrieval",
    reference={"hash.bits": 24},
    factors=[factor("hash.bits", 8, 12, 16, 24, 32, 48, 64)],
    seeds=5,
)
