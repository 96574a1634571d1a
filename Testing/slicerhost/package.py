"""The assembled ``slicer`` package: slicer-core's classes, Slicer's Python files or the stand-ins, the scene."""

import importlib.util
import os
import sys
import types

import vtk

from .modules import LoadableModule
from .qtbase import problem

HERE = os.path.dirname(os.path.abspath(__file__))
LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Colors": "vtkSlicerColorLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Reformat": "vtkSlicerReformatLogic",
}


#: Nodes that Slicer's plugins give an item in the subject hierarchy.
HIERARCHY_CLASSES = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode")


def make_package(app, ctk, stubs, slicer_source=None):
    """Put ``slicer`` into sys.modules; ``stubs`` makes the widget classes that have no shim."""
    import slicer_core

    package = types.ModuleType("slicer")
    if slicer_source:
        package.__path__ = [os.path.join(slicer_source, "Base/Python/slicer")]
        sys.path.append(os.path.join(slicer_source, "Base/Python"))
    else:
        wheel = os.path.join(os.path.dirname(os.path.dirname(slicer_core.__file__)), "slicer")
        package.__path__ = [os.path.join(HERE, "standin"), wheel]
    package.__file__ = os.path.join(package.__path__[0], "__init__.py")
    for name in dir(slicer_core):
        if not name.startswith("_"):
            setattr(package, name, getattr(slicer_core, name))
    for name, module in vars(slicer_core).items():
        if isinstance(module, types.ModuleType):
            sys.modules.setdefault(name + "Python", module)
            for class_name in dir(module):
                if class_name.startswith("vtk"):
                    setattr(package, class_name, getattr(module, class_name))
    sys.modules["slicer"] = package
    for name in ("modules", "moduleNames"):
        module = types.ModuleType(name)
        sys.modules["slicer." + name] = module
        setattr(package, name, module)
    package.app = app
    package.__getattr__ = _lazy(package, "slicer", ("qMRML", "qSlicer"), stubs)
    ctk.__getattr__ = _lazy(ctk, "ctk", ("ctk",), stubs)
    sys.meta_path.append(_PythonQtFinder(package))
    return package


def _lazy(module, title, prefixes, stubs):
    """Widget classes which have no shim: a stub from the header, where headers are at hand."""

    def find(name):
        if name.startswith(prefixes) and name in stubs.index:
            cls = stubs.class_by_name(name)
            setattr(module, name, cls)
            return cls
        raise AttributeError(f"module '{title}' has no attribute '{name}'")

    return find


class _PythonQtFinder:
    """``import qSlicerSegmentationsModuleWidgetsPythonQt`` and the like: a view of ``slicer.*``."""

    def __init__(self, package):
        self._package = package

    def find_spec(self, fullname, path=None, target=None):
        if fullname.endswith("PythonQt"):
            return importlib.util.spec_from_loader(fullname, self)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: getattr(self._package, name)
        return module

    def exec_module(self, module):
        pass


def make_scene(slicer, app):
    """The MRML scene, the application logic and the logics of the loadable modules, all real."""
    out = vtk.vtkOutputWindow()
    out.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(out)
    scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    cross = slicer.vtkMRMLCrosshairNode()
    cross.SetCrosshairName("default")
    scene.AddNode(cross)
    logic.SetMRMLScene(scene)
    logic.SetTemporaryPath(app.temporaryPath)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    for factory in (
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(logic)
    cache = slicer.vtkCacheManager()
    os.makedirs(app.cachePath, exist_ok=True)
    cache.SetRemoteCacheDirectory(app.cachePath)
    scene.SetCacheManager(cache)
    app._scene, app._app_logic, app._cache = scene, logic, cache
    slicer.mrmlScene = scene
    _keep_subject_hierarchy(slicer, scene)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    # the share directory (terminologies, color files) is not in the wheel: keep the logics quiet about it
    vtk.vtkObject.GlobalWarningDisplayOff()
    for name, class_name in LOGICS.items():
        cls = getattr(slicer, class_name, None)
        if cls is None:
            problem("module", f"no logic class {class_name}")
            continue
        module_logic = cls()
        if hasattr(module_logic, "SetModuleShareDirectory"):
            module_logic.SetModuleShareDirectory(app.temporaryPath)
        if hasattr(module_logic, "SetMRMLApplicationLogic"):
            module_logic.SetMRMLApplicationLogic(logic)
        module_logic.SetMRMLScene(scene)
        if hasattr(logic, "SetModuleLogic"):
            logic.SetModuleLogic(name, module_logic)
        app._modules._add(LoadableModule(name, module_logic))
    vtk.vtkObject.GlobalWarningDisplayOn()


def _keep_subject_hierarchy(slicer, scene):
    """Give nodes of these classes an item in the subject hierarchy, as Slicer's plugins (written with Qt) do."""

    def item_and_hierarchy(node):
        if not any(node.IsA(name) for name in HIERARCHY_CLASSES) or node.GetHideFromEditors():
            return None, None  # before asking for the hierarchy, which may add and remove nodes of its own
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        return (hierarchy.GetItemByDataNode(node), hierarchy) if hierarchy else (None, None)

    def add(node):
        item, hierarchy = item_and_hierarchy(node)
        if hierarchy and not item:
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_scene, _event, node):
        if not scene.IsBatchProcessing():
            add(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def removed(_scene, _event, node):
        item, hierarchy = (None, None) if scene.IsBatchProcessing() else item_and_hierarchy(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    def imported(*_):
        nodes = scene.GetNodes()
        for index in range(nodes.GetNumberOfItems()):
            add(nodes.GetItemAsObject(index))

    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed)
    scene.AddObserver(scene.EndImportEvent, imported)
