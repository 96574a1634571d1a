"""SampleData without a network.

With Slicer's sources the real SampleData.py is imported and only its downloadFile() is replaced;
otherwise a small stand-in module with the same static calls is put into sys.modules.
``host.samples`` maps a file name or sample name to a local path or to a callable(path) that writes it;
``file://`` addresses are copied, and checksums are compared, as Slicer does.
"""

import hashlib
import os
import shutil
import sys
import types
import urllib.parse
import urllib.request


def _provide(host, keys, uri, checksum, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    source = next((host.samples[key] for key in keys if key in host.samples), None)
    if callable(source):
        source(target)
    elif source is not None:
        shutil.copy(source, target)
    elif uri and uri.startswith("file:"):
        shutil.copy(urllib.request.url2pathname(urllib.parse.urlparse(uri).path), target)
    else:
        raise RuntimeError(f"no network here and no host.samples entry for any of {keys!r}")
    if checksum:
        algorithm, digest = checksum.split(":")
        with open(target, "rb") as file:
            if hashlib.new(algorithm, file.read()).hexdigest() != digest.lower():
                raise ValueError(f"{os.path.basename(target)}: checksum differs")
    return target


def install(host):
    """Make ``import SampleData`` work."""
    real = host.slicer_source and os.path.join(host.slicer_source, "Modules/Scripted/SampleData/SampleData.py")
    if real and os.path.exists(real):
        module = host.load_module(real, select=False)

        def download(self, uri, destFolderPath, name, checksum=None, forceDownload=False):
            keys = [name, os.path.splitext(name)[0], uri]
            return _provide(host, keys, uri, checksum, os.path.join(destFolderPath, name))

        module.SampleDataLogic.downloadFile = download
        return
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = _stand_in(host)
    module.downloadSample = lambda name: module.SampleDataLogic().downloadSamples(name)[0]
    module.downloadSamples = lambda name: module.SampleDataLogic().downloadSamples(name)
    sys.modules["SampleData"] = module


def _stand_in(host):
    slicer = host.slicer

    class SampleDataLogic:
        sources = {}
        categories = {}

        @staticmethod
        def registerCustomSampleDataCategory(category, title):
            SampleDataLogic.categories[category] = title

        @staticmethod
        def registerCustomSampleDataSource(
            category="Custom",
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
            loadFileTypes=None,
            loadFiles=None,
            loadFileProperties=None,
            checksums=None,
        ):
            columns = [[v] if isinstance(v, str) or v is None else v for v in (uris, fileNames, nodeNames, checksums)]
            SampleDataLogic.sources[sampleName] = list(zip(*columns, strict=True))

        def downloadSamples(self, sampleName):
            nodes = []
            for uri, file_name, node_name, checksum in self.sources[sampleName]:
                target = os.path.join(slicer.app.cachePath, file_name)
                path = _provide(host, [file_name, sampleName], uri, checksum, target)
                nodes.append(slicer.util.loadNodeFromFile(path, None, {"name": node_name or sampleName}))
            return nodes

        def downloadSample(self, sampleName):
            return self.downloadSamples(sampleName)[0]

    return SampleDataLogic
