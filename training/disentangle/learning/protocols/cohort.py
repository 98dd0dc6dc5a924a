"""The subjects that a protocol scores its methods on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...datasets.volumes import Subject
from ...errors import InputError
from ...progress import Progress
from ..data import load_data

FIRST_TEST_SEED = 900_000
"""Phantoms from here on are never trained on."""


def test_subjects(
    config: Mapping[str, Any], test: Mapping[str, Any], progress: Progress | None = None
) -> list[Subject]:
    """Subjects that no training of the protocol saw.

    Args:
        config: complete training configuration.
        test: section ``test`` of the protocol: ``phantoms`` (how many), ``first_seed``, ``arguments`` (changes of
            ``data.phantoms.arguments``) and ``variants`` (in place of those of ``data.phantoms``).

    Raises:
        InputError: nothing to test on, or subjects that are trained on.
    """
    unknown = sorted(set(test) - {"phantoms", "first_seed", "arguments", "variants"})
    if unknown:
        raise InputError(f'There is no setting "test.{unknown[0]}"; use phantoms, first_seed, arguments and variants.')
    data, count = config["data"], int(test.get("phantoms", 0))
    if not data["phantoms"] or not count:
        raise InputError("The protocol has nothing to test on; set test.phantoms, or data with a test part.")
    used = data["phantoms"]["first_seed"] + data["phantoms"]["subjects"] + data["phantoms"]["validation"]
    first = int(test.get("first_seed", FIRST_TEST_SEED))
    if data["phantoms"]["first_seed"] - count < first < used:
        raise InputError("The phantoms to test on are among those trained on; set test.first_seed.")
    arguments = {**data["phantoms"]["arguments"], **test.get("arguments", {})}
    phantoms = {**data["phantoms"], "subjects": 0, "validation": count, "first_seed": first, "arguments": arguments}
    phantoms["variants"] = test.get("variants", phantoms["variants"])
    return load_data({**config, "data": {**data, "phantoms": phantoms, "studies": None}}, progress).validation
