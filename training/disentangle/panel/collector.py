"""Python's garbage collector during a run: it must not hold up the window."""

from __future__ import annotations

import gc

_NEVER = 1_000_000
"""Collections of the middle generation before one of all objects: more than any run sees."""


class FullCollections:
    """Puts off collections of all objects of the process while anybody wants it; young objects are still collected.

    Such a collection takes 100 to 175 ms in a process of 250 000 objects (the bench with Qt, VTK and NumPy), whoever
    made them, and comes once or twice a run. What it would have freed is freed after the run.
    """

    def __init__(self) -> None:
        self._holders: set[int] = set()
        self._before = 0

    def hold(self, holder: object, held: bool) -> None:
        """Whether somebody wants them put off from now on; said as often as they like."""
        young, middle, full = gc.get_threshold()
        if held and not self._holders:
            self._before = full
            gc.set_threshold(young, middle, _NEVER)
        elif not held and self._holders == {id(holder)} and full == _NEVER:  # else somebody else has set it meanwhile
            gc.set_threshold(young, middle, self._before)
        (self._holders.add if held else self._holders.discard)(id(holder))


full_collections = FullCollections()
"""Of this process."""
