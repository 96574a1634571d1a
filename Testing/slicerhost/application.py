"""``slicer.app`` and the main window."""

import os
import tempfile

from .iomanager import qSlicerCoreIOManager
from .modules import qSlicerModuleManager
from .qtbase import QtCore, QtWidgets, problem

W = QtWidgets


class qSlicerCommandOptions:
    def __init__(self, testing):
        self.isTestingEnabled = testing
        self.noMainWindow = False
        self.settingsDisabled = True
        self.additionalModulePaths = []


class qSlicerApplication(W.QApplication):
    _pq_shim = True
    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)
    urlReceived = QtCore.Signal(str)
    renderPaused = QtCore.Signal(bool)

    def __init__(self, testing=True, args=None):
        W.QApplication.__init__(self, args or ["slicerhost"])
        self._tmp = tempfile.mkdtemp(prefix="slicerhost-")
        self.setOrganizationName("slicerhost")
        self.setApplicationName("Slicer")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self._tmp + "/settings")
        self.setStyle("Fusion")
        self._testing = testing
        self._scene = self._app_logic = self._layout = None
        self._modules = qSlicerModuleManager()
        self._io = qSlicerCoreIOManager(self)
        self._options = qSlicerCommandOptions(testing)
        self._settings = QtCore.QSettings()
        self._settings.setValue("Developer/DeveloperMode", "false")
        self._settings.setValue("Developer/SelfTestDisplayMessageDelay", 0)

    # properties
    temporaryPath = property(lambda s: s._tmp)
    cachePath = property(lambda s: s._tmp + "/cache")
    slicerHome = property(lambda s: s._tmp + "/home")
    slicerSharePath = property(lambda s: "share/Slicer-5.13")
    defaultScenePath = property(lambda s: s._tmp)
    startupWorkingPath = property(lambda s: os.getcwd())
    extensionsInstallPath = property(lambda s: s._tmp + "/Extensions")
    slicerUserSettingsFilePath = property(lambda s: s._settings.fileName())
    applicationVersion = property(lambda s: "5.13.0-host")
    applicationName = property(lambda s: "Slicer")
    mainApplicationName = property(lambda s: "Slicer")
    mainApplicationDisplayName = property(lambda s: "3D Slicer")
    isCustomMainApplication = property(lambda s: False)
    majorVersion = property(lambda s: 5)
    minorVersion = property(lambda s: 13)
    mainApplicationMajorVersion = property(lambda s: 5)
    mainApplicationMinorVersion = property(lambda s: 13)
    revision = property(lambda s: "31053")
    repositoryRevision = property(lambda s: "host")
    releaseType = property(lambda s: "Experimental")
    isInstalled = property(lambda s: True)
    intDir = property(lambda s: "")
    platform = property(lambda s: "linux-amd64")
    arch = property(lambda s: "amd64")
    os = property(lambda s: "linux")
    applicationLocaleName = property(lambda s: "en_US")
    documentationBaseUrl = property(lambda s: "https://slicer.readthedocs.io/en/latest/")

    def testingEnabled(self):
        return self._testing

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._app_logic

    def moduleManager(self):
        return self._modules

    def moduleLogic(self, name):
        m = self._modules.module(name)
        return m.logic() if m else None

    def coreIOManager(self):
        return self._io

    def ioManager(self):
        return self._io

    def layoutManager(self):
        return self._layout

    def commandOptions(self):
        return self._options

    def settings(self):
        return self._settings

    userSettings = defaultSettings = revisionUserSettings = settings

    def moduleDocumentationUrl(self, name):
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def translate(self, context, text):
        return QtCore.QCoreApplication.translate(context, text)

    def pauseRender(self):
        if self._layout:
            self._layout.pauseRender()

    def resumeRender(self):
        if self._layout:
            self._layout.resumeRender()

    def setRenderPaused(self, p):
        (self.pauseRender if p else self.resumeRender)()

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    environment = startupEnvironment

    def toSlicerHomeAbsolutePath(self, p):
        return p if os.path.isabs(p) else os.path.join(self.slicerHome, p)

    def openNodeModule(self, node, role="", context=""):
        problem("stub", f"slicer.app.openNodeModule({node.GetName()})")

    def restart(self):
        problem("stub", "slicer.app.restart()")

    def confirmRestart(self, reason=""):
        problem("stub", f"slicer.app.confirmRestart({reason})")

    def pythonConsole(self):
        return None

    def pythonManager(self):
        return None

    def extensionsManagerModel(self):
        return None

    def dicomDatabase(self):
        problem("stub", "slicer.app.dicomDatabase()")
        return None

    def logUsageEvent(self, *_a):
        pass

    def loadFiles(self, files, messages=None):
        return all(self._io.loadNodes(self._io.fileType(f), {"fileName": f}) for f in files)

    def notify(self, *a):
        return W.QApplication.notify(self, *a)


del qSlicerApplication.notify  # never override notify() in Python: far too slow


class ModuleSelector(W.QComboBox):
    moduleSelected = QtCore.Signal(str)

    def __init__(self, window):
        W.QComboBox.__init__(self)
        self._window = window
        self.selectedModule = ""

    def selectModule(self, name):
        self._window.show_module(name)
        self.selectedModule = name


class qSlicerMainWindow(W.QMainWindow):
    """Module panel on the left, views on the right."""

    def __init__(self, app):
        W.QMainWindow.__init__(self)
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("slicerhost (a test host, not 3D Slicer)")
        self._app = app
        self._selector = ModuleSelector(self)
        self._panel = W.QWidget()
        lay = W.QVBoxLayout(self._panel)
        row = W.QHBoxLayout()
        row.addWidget(W.QLabel("Modules:"))
        row.addWidget(self._selector, 1)
        lay.addLayout(row)
        self._scroll = W.QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(W.QFrame.NoFrame)
        lay.addWidget(self._scroll, 1)
        dock = W.QDockWidget("Modules")
        dock.setTitleBarWidget(W.QWidget())
        dock.setWidget(self._panel)
        dock.setMinimumWidth(430)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, dock)
        self._current = None
        self.menuBar().addMenu("File").setObjectName("FileMenu")
        self.menuBar().hide()
        self.statusBar()

    def moduleSelector(self):
        return self._selector

    def show_module(self, name):
        m = self._app.moduleManager().module(name)
        if m is None:
            raise RuntimeError("no module " + name)
        if self._current is not None and hasattr(self._current, "exit"):
            self._current.exit()
        if self._current is not None:
            self._current.setParent(None)  # kept by its module; what held it here goes
        self._scroll.takeWidget()
        w = m.widgetRepresentation()
        holder = W.QWidget()
        lay = W.QVBoxLayout(holder)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.addWidget(w)
        lay.addStretch(1)
        self._scroll.setWidget(holder)
        w.show()
        if self._selector.findText(m.title) < 0:
            self._selector.addItem(m.title)
        self._selector.setCurrentIndex(self._selector.findText(m.title))
        self._current = w
        if hasattr(w, "enter"):
            w.enter()
