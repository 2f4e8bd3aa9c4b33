"""Settings of the property tests: no deadline, since a loaded machine is no failure."""

from hypothesis import settings

settings.register_profile("edgeseq", deadline=None)
settings.load_profile("edgeseq")
