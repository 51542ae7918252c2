"""The names that an extension imports: a file outside the package that adds a method, a backbone or a layout.

An extension registers what it adds when it is imported, by `--extension FILE` or RAYSEARCH_EXTENSIONS:

    from raysearch.extend import Section, hashing_loss, setting

    class MarginConfig(Section):
        margin: float = setting(2.0, "distance beyond which unlike images are left alone.", gt=0)

    @hashing_loss("margin", config=MarginConfig)
    def margin_loss(outputs, labels, config):
        ...

Then `hash.method=margin` and `margin.margin=3` work in commands, in study files and in Python. Importing this module
imports neither torch nor ray.
"""

from collections.abc import Callable
from typing import Any

from raysearch.data.layouts import Listing, layout
from raysearch.data.shards import FileLoader, Sample
from raysearch.models.backbone_specs import backbone
from raysearch.studies.configs import ModelKind, Section, TaskSpec, register_task, setting
from raysearch.studies.configs.fewshot_task import fewshot_head
from raysearch.studies.configs.retrieval_task import hashing_loss
from raysearch.studies.design.search_methods import sampler, scheduler

__all__ = [
    "FileLoader",
    "Listing",
    "ModelKind",
    "Sample",
    "Section",
    "TaskSpec",
    "backbone",
    "fewshot_head",
    "hashing_loss",
    "layout",
    "register_task",
    "report_section",
    "sampler",
    "scheduler",
    "setting",
]


def report_section(kind: str, title: str, after: str | None = None) -> Callable[[Any], Any]:
    """Add a section to the report of a kind of study.

    `dashboards.report_sections.report_section` describes the arguments and errors.
    """
    from dashboards import report_sections  # plotly, which no other extension needs

    return report_sections.report_section(kind, title, after)
