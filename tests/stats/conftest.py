"""Settings shared by the tests of the statistics."""

from hypothesis import settings

# a busy machine is no failure of a formula
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
