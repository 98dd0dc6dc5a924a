"""A bench for the two Slicer modules: real MRML, real Qt, and stand-ins as strict as Slicer itself.

Start with :func:`bench.slicer_app.start`; tests use the fixtures of ``Testing/bench/conftest.py``.
"""
