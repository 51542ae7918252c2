"""A study on Ray: worker groups that stay alive between trials, Ray Tune above them, and the view of what goes on."""
