"""Studies and their plans: an `Ablation` or a `Search` becomes variants and cells, each cell with a content hash.

`load_study` finds a study, and `plan_study` plans it; neither imports torch or Ray.
"""

from raysearch.studies.design.ablation import Ablation
from raysearch.studies.design.ablation_plan import AblationPlan, plan_ablation
from raysearch.studies.design.adaptive_seeds import Adaptive
from raysearch.studies.design.explanation_plan import Change, ExplainedGroup, ExplanationPlan
from raysearch.studies.design.factors import Factor, choice, component, factor
from raysearch.studies.design.joined_plan import JoinedPlan, join_plans
from raysearch.studies.design.plan import (
    CPU,
    GPU,
    Cell,
    Device,
    Plan,
    PlanRequest,
    Variant,
    cell_hash,
    make_cell,
    pre_trainings,
)
from raysearch.studies.design.search import Search
from raysearch.studies.design.search_plan import Group, SearchPlan, plan_search
from raysearch.studies.design.study_files import Study, load_study, plan_study, study_names
from raysearch.studies.design.study_list import ListedStudy, describe_reference, list_studies

__all__ = [
    "CPU",
    "GPU",
    "Ablation",
    "AblationPlan",
    "Adaptive",
    "Cell",
    "Change",
    "Device",
    "ExplainedGroup",
    "ExplanationPlan",
    "Factor",
    "Group",
    "JoinedPlan",
    "ListedStudy",
    "Plan",
    "PlanRequest",
    "Search",
    "SearchPlan",
    "Study",
    "Variant",
    "cell_hash",
    "choice",
    "component",
    "describe_reference",
    "factor",
    "join_plans",
    "list_studies",
    "load_study",
    "make_cell",
    "plan_ablation",
    "plan_search",
    "plan_study",
    "pre_trainings",
    "study_names",
]
