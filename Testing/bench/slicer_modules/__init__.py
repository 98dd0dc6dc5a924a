"""Stand-ins for Python modules that Slicer has and the slicer-core wheel does not ship.

``slicer_app.start`` puts each into ``sys.modules`` under Slicer's name; they behave as Slicer documents.
"""
