"""Fine-grained retrieval by hashing: networks in training, methods that are fitted, and how their codes are judged.

`task` trains FCAENet and the deep methods that it is compared with; `shallow_task` fits the others.
"""
