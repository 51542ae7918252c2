"""What a variant's config holds that its reference's does not: the truth behind a name, wherever a variant is shown."""

from dashboards.ablation.view import Variant, View
from dashboards.run_data.config_diff import Change, between


def changes(run: View, one: Variant) -> list[Change]:
    """What a variant's config changes from its reference's; nothing for a reference, or where no config was kept."""
    other = run.named[one.reference].config
    return between(other, one.config) if other and one.config else []
