"""What other runs know, read once for all groups of a search, and shown to the user."""

import functools

from raysearch.engine.drivers.learning import known_configs, learned_trials, other_runs
from raysearch.engine.drivers.space import SearchSpace
from raysearch.engine.options import RunContext
from raysearch.runs import LearnedRecord
from raysearch.runs.learned import describe_learned
from raysearch.studies.design import Group, SearchPlan


class SearchMemory:
    """The cells of other runs that a search may learn from.

    Args:
        plan: of the search.
        context: of the run: its options name the other runs.
    """

    def __init__(self, plan: SearchPlan, context: RunContext) -> None:
        self._plan = plan
        self._context = context

    def learn(self, group: Group, space: SearchSpace) -> known_configs.Knowledge:
        """Return what is known of a group, and print how much it is and from where."""
        options = self._context.options
        # Who takes over nothing of the runs beside this one does not trust them.
        if not options.learn or not (options.adopt or options.learn_from):
            return known_configs.Knowledge()
        knowledge = known_configs.learn(self._plan, group, space, self._runs, options.adopt)
        text = describe_learned(record_of(group, knowledge, self._plan))
        if text:
            self._context.console.print(text, markup=False)
        return knowledge

    @functools.cached_property
    def _runs(self) -> other_runs.OtherRuns:
        run = self._context.run
        runs = other_runs.read_other_runs(run.directory, run.record, self._context.options.learn_from)
        for line in runs.unreadable:
            self._context.console.print(line, markup=False, style="yellow")
        return runs


def record_of(group: Group, knowledge: known_configs.Knowledge, plan: SearchPlan) -> LearnedRecord:
    """Return what is known of a group as the run records it."""
    first = learned_trials.first_suggestions(knowledge.configs, plan.search.modes)
    return LearnedRecord(
        group=group.label or None,
        configs=len(knowledge.configs),
        first=len(first),
        runs=knowledge.runs,
        left_out=dict(knowledge.left_out),
    )
