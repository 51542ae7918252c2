"""The users of the machine, for the tests of this folder."""

from .users import attacker, make_user, victim

__all__ = ["attacker", "make_user", "victim"]
