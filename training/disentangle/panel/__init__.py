"""What the panels of DisentangleSeg and DisentangleSynth share: the top room, and the only one that imports qt.

The two module folders hold what only one of them has; everything below is used by both.

| file | holds | knows Qt |
| --- | --- | --- |
| ``widget.py`` | the modules' widget: puts the boxes together, follows scene and parameter node | yes |
| ``*_box.py``, ``factor_page.py``, ``edit_tools.py``, ``result_views.py`` | the sections of the panels | yes |
| ``parts.py`` | what the sections are made of | yes |
| ``study_row.py``, ``study_drag.py`` | rows of the Study box, and dragging one onto another | yes |
| ``arrivals.py``, ``image_check.py`` | volumes that come; looking at chosen ones before a run | timer |
| ``logic.py`` | the modules' logic: polls the runner by a timer; blocking calls for the console | timer |
| ``*_tools.py`` (but for ``edit_tools.py``) | parts of it | no |
| ``kept_edits.py`` | what was edited, on its way into the next result | no |
| ``runner.py``, ``tasks.py`` | one run at a time through the worker, from nodes to nodes | no |
| ``worker_link.py``, ``exchange.py``, ``background.py`` | the worker and its files; threads beside the window's | no |
| ``turns.py`` | long work in the window's thread, a moment at a time | no |
| ``recognizer.py`` | what volumes look like to the worker, and what is known of that | no |
| ``run_state.py`` | the state machine of a run: button text, tooltip, progress, status | no |
| ``dependencies.py`` | the worker's interpreter; installing what Slicer's Python lacks | dialogs |
| ``model_facts.py``, ``summary.py`` | what model cards and reports say, in sentences | no |
| ``parameters.py`` | the part of the parameter nodes that both modules have | no |
| ``synthetic_marks.py`` | the word "synthetic" in slice views | views |
| ``startup.py``, ``sample_data.py``, ``testing.py`` | start-up of Slicer, samples, self-tests | no |
| ``citations.py`` | the systems' papers | no |

Nothing here is imported outside Slicer but ``run_state.py`` and ``runner.py``.
"""
