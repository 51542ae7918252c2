"""The spec of the retrieval task; the profile "paper" is the config's defaults with the paper's weights."""

from raysearch.studies.configs.retrieval import RetrievalConfig
from raysearch.studies.configs.task_spec import ModelKind, TaskSpec, register_task

RETRIEVAL = register_task(
    TaskSpec(
        name="retrieval",
        config=RetrievalConfig,
        version=4,
        build="raysearch.tasks.retrieval.task:build",
        metric_ids="raysearch.tasks.retrieval.evaluation:metric_ids",
        objectives=("map_validation", "epoch_seconds"),
        movable=(
            "train.lr",
            "train.hash_lr",
            "train.momentum",
            "train.weight_decay",
            "train.epochs",
            "train.batch",
            "esrl.positive",
            "esrl.erased",
            "srem.regions",
            "adsh.gamma",
        ),
        profiles={
            "paper": {"model.weights": "IMAGENET1K_V1"},
            "laptop": {
                "data.side": 64,
                "data.validation": 0.1,  # for the learning curves
                "model.backbone": "small",
                "model.weights": "DRAWN_BIRDS_V1",
                "model.standardise": True,
                "adsh.bit_norm": True,
                "warmup.iterations": 4,
                "train.samples": 800,
                "train.iterations": 3,
                "train.epochs": 1,
                "train.lr": 5e-4,
                "train.hash_lr": 5.0,
            },
        },
        from_checkpoint={"model.weights": None, "model.frozen": False, "warmup.iterations": 0},
        model=ModelKind("a retrieval model", "raysearch.retrieve"),
    )
)
