"""SampleData: registration of sample data sources; nothing is downloaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import slicer

registered: list[dict[str, Any]] = []
"""Every source registered, by its keyword arguments."""


class SampleDataLogic:
    """What modules use of the Sample Data module."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        """Name a category."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """Offer a data set."""
        source = SimpleNamespace(sampleName=sampleName, nodeNames=nodeNames, customDownloader=customDownloader)
        slicer.modules.sampleDataSources.setdefault(category, []).append(source)
        registered.append(
            {
                "category": category,
                "sampleName": sampleName,
                "uris": uris,
                "fileNames": fileNames,
                "nodeNames": nodeNames,
                "customDownloader": customDownloader,
                "thumbnailFileName": thumbnailFileName,
                "checksums": checksums,
            }
        )
