"""`SampleData`: registers sample data sources and refuses what the real module's classes refuse.

Follows ``Modules/Scripted/SampleData/SampleData.py`` of Slicer. Slicer 5.10 names the types of the files
``loadFileType``, the main branch ``loadFileTypes`` and, for older modules, ``loadFileType`` as well: `SPELLINGS`. Their
checks are the same. Nothing is downloaded here.
"""

from __future__ import annotations

import sys
import types

import slicer

SPELLINGS = {"5.10": ("loadFileType",), "main": ("loadFileTypes", "loadFileType")}
FIELDS = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles")
OTHERS = ("sampleName", "sampleDescription", "customDownloader", "thumbnailFileName", "loadFileProperties")


class SampleDataSource:
    """Fields of one length: all lists, or all single values. ``uris`` decides which."""

    spellings = SPELLINGS["main"]

    def __init__(self, **given):
        if unknown := set(given) - {*FIELDS, *OTHERS, *self.spellings}:
            raise TypeError(f"SampleDataSource.__init__() got an unexpected keyword argument '{min(unknown)}'")
        kinds = [given[name] for name in self.spellings if given.get(name) is not None]
        if len(kinds) > 1:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        fields = {name: given.get(name) for name in FIELDS} | {"loadFileTypes": kinds[0] if kinds else None}
        uris = fields["uris"]
        if isinstance(uris, (list, tuple)):
            for name, value in fields.items():
                if (value is None and name != "fileNames") or (name == "loadFileTypes" and isinstance(value, str)):
                    fields[name] = [value] * len(uris)
        elif isinstance(uris, str):
            fields = {name: [value] for name, value in fields.items()}
        lengths = {name: len(value) for name, value in fields.items()}  # a TypeError where uris are None
        if len(set(lengths.values())) > 1:
            raise ValueError(f"All fields of sample data source must have the same length: {lengths}")
        if "loadFileTypes" not in self.spellings:  # 5.10 guesses a type from the name of the file
            for file, node, kind in zip(*(fields[n] for n in ("fileNames", "nodeNames", "loadFileTypes")), strict=True):
                if kind is None and node is None:
                    file.lower()
        self.__dict__.update(fields)
        self.__dict__.update({name: given.get(name) for name in OTHERS})
        self.loadFileProperties = self.loadFileProperties or {}
        self.sampleDescription = self.sampleDescription or self.sampleName

    def __eq__(self, other):
        return str(self) == str(other)

    __hash__ = None

    def __str__(self):
        return "\n".join(f"{name}: {value}" for name, value in sorted(vars(self).items()))


class SampleDataLogic:
    """The registered sources; `slicer.modules.sampleDataSources` holds them by category."""

    @staticmethod
    def registerCustomSampleDataSource(category="Custom", **given):
        if "loadFileTypes" not in SampleDataSource.spellings:
            given.setdefault("loadFileType", "VolumeFile")
        source = SampleDataSource(**given)
        if not SampleDataLogic.isSampleDataSourceRegistered(category, source):
            SampleDataLogic.sampleDataSourcesByCategory().setdefault(category, []).append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, source):
        if not isinstance(source, SampleDataSource):
            raise TypeError(f"unsupported sampleDataSource type '{type(source)}'")
        return source in SampleDataLogic.sampleDataSourcesByCategory(category)


def click_sample(name: str):
    """The user presses the button of a sample in the module Sample Data; returns what its downloader returned."""
    for sources in SampleDataLogic.sampleDataSourcesByCategory().values():
        for source in sources:
            if name in (source.sampleName, source.sampleDescription):
                return source.customDownloader(source)
    raise AssertionError(f"no sample is called {name!r}")


def install() -> None:
    module = sys.modules["SampleData"] = types.ModuleType("SampleData")
    module.SampleDataSource, module.SampleDataLogic = SampleDataSource, SampleDataLogic
