"""What the panels of DisentangleSeg and DisentangleSynth share: the top room, and the only one that imports qt.

The two module folders hold what only one of them has; everything below is used by both.

| file | holds | knows Qt |
| --- | --- | --- |
| ``run_state.py`` | the state machine of a run: button text, tooltip, progress, status | no |
| ``runner.py`` | one run at a time through the worker, from volume nodes to result nodes | no |
| ``dependencies.py`` | the worker's interpreter; installing what Slicer's Python lacks | dialogs |
| ``parameters.py`` | the part of the parameter nodes that both modules have | no |
| ``logic.py`` | the modules' logic: polls the runner by a timer; blocking calls for the console | timer |
| ``study_box.py`` | a row per sequence: volume, guess | yes |
| ``model_box.py`` | choosing a bundle, what it can do, its licence | yes |
| ``run_box.py`` | Apply/Cancel, progress, status, log | yes |
| ``result_views.py`` | buttons that show the grids of slice views | yes |
| ``widget.py`` | the modules' widget: puts the boxes together, follows scene and parameter node | yes |

Nothing here is imported outside Slicer but ``run_state.py`` and ``runner.py``.
"""
