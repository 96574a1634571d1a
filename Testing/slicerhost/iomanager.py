"""``slicer.app.coreIOManager()``: reading and writing with the real logics and storage nodes."""

import glob
import os
import tempfile

import vtk

from .qtbase import QtCore, problem


class qSlicerCoreIOManager(QtCore.QObject):
    """Reads and writes with the real logics and storage nodes; file type by extension only."""

    _pq_shim = True
    newFileLoaded = QtCore.Signal(object)
    fileSaved = QtCore.Signal(object)
    _ext = [
        ((".mrml", ".mrb"), "SceneFile"),
        ((".seg.nrrd", ".seg.nhdr", ".seg.vtm"), "SegmentationFile"),
        ((".seq.nrrd", ".seq.nhdr", ".seq.mrb"), "SequenceFile"),
        (
            (
                ".nrrd",
                ".nhdr",
                ".gipl",
                ".gipl.gz",
                ".mgz",
                ".nii",
                ".nii.gz",
                ".mha",
                ".mhd",
                ".hdr",
                ".img",
                ".img.gz",
                ".dcm",
                ".tif",
                ".png",
                ".jpg",
            ),
            "VolumeFile",
        ),
        ((".vtk", ".vtp", ".stl", ".ply", ".obj"), "ModelFile"),
        ((".h5", ".tfm", ".mat"), "TransformFile"),
        ((".mrk.json", ".fcsv", ".json"), "MarkupsFile"),
        ((".csv", ".tsv"), "TableFile"),
        ((".txt", ".xml"), "TextFile"),
        ((".ctbl",), "ColorTableFile"),
    ]

    def __init__(self, app):
        QtCore.QObject.__init__(self)
        self._app = app

    def fileType(self, f):
        low = str(f).lower()
        for exts, t in self._ext:
            if low.endswith(exts):
                return t
        return "NoFile"

    def fileTypes(self, f):
        return [self.fileType(f)]

    def extractKnownExtension(self, f, _node=None):
        low = str(f).lower()
        for exts, _t in self._ext:
            for e in sorted(exts, key=len, reverse=True):
                if low.endswith(e):
                    return e
        return os.path.splitext(f)[1]

    def stripKnownExtension(self, f, node=None):
        return f[: len(f) - len(self.extractKnownExtension(f, node))]

    def loadNodes(self, fileType, props_, collection=None, messages=None):
        import slicer

        p = dict(props_)
        fn = str(p["fileName"])
        name = p.get("name") or os.path.basename(self.stripKnownExtension(fn))
        sc = slicer.mrmlScene
        node = None
        if fileType == "SceneFile":
            if p.get("clear", False):
                sc.Clear(0)
            return bool(self._load_scene(fn))
        if not os.path.exists(fn):
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, "file not found: " + fn)
            return False
        if fileType == "VolumeFile":
            opt = (
                (1 if p.get("labelmap") else 0)
                | (2 if p.get("center") else 0)
                | (4 if p.get("singleFile") else 0)
                | (8 if p.get("autoWindowLevel", True) else 0)
                | (16 if p.get("discardOrientation") else 0)
            )
            node = slicer.modules.volumes.logic().AddArchetypeVolume(fn, name, opt)
            if node and p.get("show", True):
                sel = self._app.applicationLogic().GetSelectionNode()
                (sel.SetActiveLabelVolumeID if p.get("labelmap") else sel.SetActiveVolumeID)(node.GetID())
                self._app.applicationLogic().PropagateVolumeSelection(1)
        elif fileType == "SegmentationFile":
            node = slicer.modules.segmentations.logic().LoadSegmentationFromFile(fn, True, name)
        else:
            cls, st = {
                "ModelFile": ("vtkMRMLModelNode", None),
                "TransformFile": ("vtkMRMLTransformNode", None),
                "MarkupsFile": ("vtkMRMLMarkupsFiducialNode", None),
                "TableFile": ("vtkMRMLTableNode", None),
                "TextFile": ("vtkMRMLTextNode", None),
                "ColorTableFile": ("vtkMRMLColorTableNode", None),
            }.get(fileType, (None, None))
            if fileType == "MarkupsFile":
                nid = slicer.modules.markups.logic().LoadMarkups(fn, name)
                node = sc.GetNodeByID(nid) if nid else None
            elif fileType == "TransformFile":
                node = slicer.modules.transforms.logic().AddTransform(fn, sc)
            elif cls:
                node = sc.AddNewNodeByClass(cls, name)
                node.AddDefaultStorageNode(fn)
                if not node.GetStorageNode().ReadData(node):
                    sc.RemoveNode(node)
                    node = None
                elif hasattr(node, "CreateDefaultDisplayNodes"):
                    node.CreateDefaultDisplayNodes()
            else:
                problem("io", f"cannot read file type {fileType}")
        if node is None:
            return False
        if collection is not None:
            collection.AddItem(node)
        self.newFileLoaded.emit(p)
        return True

    def _load_scene(self, fn):
        import slicer

        sc = slicer.mrmlScene
        if fn.lower().endswith(".mrb"):
            import zipfile

            d = tempfile.mkdtemp(prefix="mrb", dir=self._app.temporaryPath)
            zipfile.ZipFile(fn).extractall(d)
            fn = glob.glob(d + "/**/*.mrml", recursive=True)[0]
        sc.SetURL(fn)
        sc.SetRootDirectory(os.path.dirname(os.path.abspath(fn)))
        return sc.Import(None)

    def loadScene(self, fn, clear=True, messages=None):
        return self.loadNodes("SceneFile", {"fileName": fn, "clear": clear}, None, messages)

    def fileWriterFileType(self, node, _ext=""):
        for c, t in (
            ("vtkMRMLSegmentationNode", "SegmentationFile"),
            ("vtkMRMLVolumeNode", "VolumeFile"),
            ("vtkMRMLModelNode", "ModelFile"),
            ("vtkMRMLTransformNode", "TransformFile"),
            ("vtkMRMLMarkupsNode", "MarkupsFile"),
            ("vtkMRMLTableNode", "TableFile"),
            ("vtkMRMLTextNode", "TextFile"),
        ):
            if node.IsA(c):
                return t
        return "NoFile"

    def fileWriterExtensions(self, node):
        node.AddDefaultStorageNode()
        types_ = node.GetStorageNode().GetSupportedWriteFileTypes()
        return [types_.GetValue(i) for i in range(types_.GetNumberOfValues())]

    def saveNodes(self, fileType, props_, messages=None):
        import slicer

        p = dict(props_)
        fn = str(p["fileName"])
        if fileType == "SceneFile":
            sc = slicer.mrmlScene
            if fn.lower().endswith(".mrb"):
                return bool(sc.WriteToMRB(fn))
            if fn.lower().endswith(".mrml"):
                return bool(sc.Commit(fn))
            return bool(sc.SaveSceneToSlicerDataBundleDirectory(fn))
        node = slicer.mrmlScene.GetNodeByID(p["nodeID"])
        node.AddDefaultStorageNode(fn)
        st = node.GetStorageNode()
        st.SetFileName(fn)
        st.SetUseCompression(int(p.get("useCompression", 1)))
        return bool(st.WriteData(node))

    def exportNodes(self, nodeIDs, fileNames, props_, hardenTransforms=False, messages=None):
        import slicer

        ok = True
        for nid, fn in zip(nodeIDs, fileNames, strict=False):
            node = slicer.mrmlScene.GetNodeByID(nid)
            st = slicer.mrmlScene.CreateNodeByClass(node.GetDefaultStorageNodeClassName(fn))
            st.UnRegister(None)
            st.SetFileName(fn)
            if hardenTransforms and node.GetParentTransformNode():
                problem("io", "exportNodes: hardenTransforms is not stood in for")
            ok = bool(st.WriteData(node)) and ok
        return ok

    def addDefaultStorageNodes(self):
        import slicer

        for n in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            if n.GetSaveWithScene():
                n.AddDefaultStorageNode()
