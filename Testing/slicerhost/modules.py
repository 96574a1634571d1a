"""The module manager, and the module classes it holds."""

import os
import sys

from .node_combobox import qMRMLWidget
from .qtbase import QtCore, QtWidgets, stub_factory

W = QtWidgets


class _FactoryManager:
    def __init__(self, mm):
        self._mm = mm

    def loadedModuleNames(self):
        return sorted(m.name for m in self._mm._modules.values())

    registeredModuleNames = loadedModuleNames
    instantiatedModuleNames = loadedModuleNames

    def isLoaded(self, name):
        return self._mm.module(name) is not None

    isRegistered = isLoaded

    def connect(self, *_a):
        return True

    def loadModules(self, names):
        return all(self.isLoaded(n) for n in names)


class qSlicerModuleManager(QtCore.QObject):
    _pq_shim = True
    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def __init__(self):
        QtCore.QObject.__init__(self)
        self._modules = {}
        self._factory = _FactoryManager(self)

    def factoryManager(self):
        return self._factory

    def modulesNames(self):
        return self._factory.loadedModuleNames()

    def module(self, name):
        return self._modules.get(name.lower())

    def _add(self, module):
        import slicer

        self._modules[module.name.lower()] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)
        self.moduleLoaded.emit(module.name)


class LoadableModule:
    """A C++ loadable module: the real logic from slicer-core, no widget."""

    def __init__(self, name, logic):
        self.name = self.title = name
        self._logic = logic
        self.path = ""
        self.categories, self.dependencies, self.hidden = [], [], False
        self._stub = None

    def logic(self):
        return self._logic

    def mrmlScene(self):
        import slicer

        return slicer.mrmlScene

    def widgetRepresentation(self):
        if self._stub is None:
            cls = stub_factory[0](f"qSlicer{self.name}ModuleWidget") if stub_factory[0] else W.QWidget
            self._stub = (cls or W.QWidget)()
        return self._stub

    createNewWidgetRepresentation = widgetRepresentation


class qSlicerScriptedLoadableModule:
    """The ``parent`` of a ScriptedLoadableModule. Only the real attributes can be set."""

    _allowed = {
        "title",
        "categories",
        "contributors",
        "helpText",
        "acknowledgementText",
        "dependencies",
        "icon",
        "hidden",
        "index",
        "associatedNodeTypes",
        "widgetRepresentationCreationEnabled",
        "path",
        "name",
        "extensionName",
        "defaultDocumentationLink",
        "slicerWikiUrl",
        "isInstalled",
        "isBuiltIn",
    }

    def __init__(self, path):
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.title, self.categories, self.dependencies, self.contributors = self.name, [], [], []
        self.helpText = self.acknowledgementText = ""
        self.icon, self.hidden, self.index, self.associatedNodeTypes = None, False, -1, []
        self.widgetRepresentationCreationEnabled = True
        self.defaultDocumentationLink = ""
        self.slicerWikiUrl = ""
        self.isInstalled, self.isBuiltIn = False, False
        self._repr = None
        self._py = None

    def __setattr__(self, k, v):
        if not k.startswith("_") and k not in self._allowed:
            raise AttributeError(f"qSlicerScriptedLoadableModule has no attribute '{k}'")
        object.__setattr__(self, k, v)

    def logic(self):
        return None

    def mrmlScene(self):
        import slicer

        return slicer.mrmlScene

    def widgetRepresentation(self):
        if self._repr is None and self.widgetRepresentationCreationEnabled:
            self._repr = self.createNewWidgetRepresentation()
        return self._repr

    def createNewWidgetRepresentation(self):
        r = qSlicerScriptedLoadableModuleWidget(self)
        r._build()
        return r


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel of a scripted module: makes its Python widget, forwards enter() and exit()."""

    _pq_shim = True

    def __init__(self, module):
        qMRMLWidget.__init__(self)
        self._module, self._self, self._entered = module, None, False
        self.setLayout(W.QVBoxLayout())
        self.setObjectName(module.name + "ModuleWidget")

    isEntered = QtCore.Property(bool, lambda s: s._entered)
    moduleName = QtCore.Property(str, lambda s: s._module.name)

    def module(self):
        return self._module

    def _build(self):
        import slicer

        self.setMRMLScene(slicer.mrmlScene)
        pymod = sys.modules[self._module.name]
        cls = getattr(pymod, self._module.name + "Widget", None)
        if cls is None:
            return
        self._self = cls(self)
        setattr(slicer.modules, self._module.name + "Widget", self._self)
        self._self.setup()

    def self(self):
        return self._self

    def reload(self):
        self._build()
        if self._entered and hasattr(self._self, "enter"):
            self._self.enter()

    def enter(self):
        self._entered = True
        if hasattr(self._self, "enter"):
            self._self.enter()

    def exit(self):
        self._entered = False
        if hasattr(self._self, "exit"):
            self._self.exit()

    def setEditedNode(self, node, role="", context=""):
        f = getattr(self._self, "setEditedNode", None)
        return f(node, role, context) if f else False

    def nodeEditable(self, node):
        f = getattr(self._self, "nodeEditable", None)
        return f(node) if f else 0.5
