"""``Host``: everything put together, and the means to drive it as a user would."""

import importlib
import importlib.util
import os
import shutil
import sys
import unittest

from . import headers, package, pyqt
from .qtbase import QtCore, QtTest, QtWidgets, answers, custom_widgets, opened, problem, problems, stub_factory
from .stubs import StubFactory

PYTHON_FILES = ("util", "i18n", "ScriptedLoadableModule", "parameterNodeWrapper")
HEADER_FOLDERS = ("Libs/MRML/Widgets", "Base/QTGUI", "Base/QTCore", "Modules/Loadable")


class Host:
    """One per process.

    Parameters
    ----------
    slicer_source, ctk_source : str, optional
        Source trees of Slicer and CTK: then Slicer's own Python files run, and widgets without a shim are
        strict stubs from their headers. Without them the wheel's ``slicer/util.py`` and ``standin`` are used.
    testing : bool
        What ``slicer.app.testingEnabled()`` says.
    size : tuple of int
        Width and height of the main window in pixels.
    """

    def __init__(self, slicer_source=None, ctk_source=None, testing=True, size=(1500, 900)):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        self.slicer_source = slicer_source
        self.qt = pyqt.install()
        self.problems, self.answers, self.samples, self.opened = problems, answers, {}, opened
        from . import ctkshim, mrmlwidgets
        from .application import qSlicerApplication, qSlicerMainWindow
        from .modules import qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget

        self.ctk = sys.modules["ctk"] = ctkshim.module()
        self.app = qSlicerApplication(testing)
        self.index, self.decorated = self._read_headers(slicer_source, ctk_source)
        stubs = StubFactory(self.index)
        stub_factory[0] = stubs.class_by_name
        self.slicer = package.make_package(self.app, self.ctk, stubs, slicer_source)
        self._install_widgets(mrmlwidgets.classes())
        self.slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget
        self.slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
        self.slicer.qSlicerApplication = qSlicerApplication
        package.make_scene(self.slicer, self.app)
        for name in PYTHON_FILES:
            setattr(self.slicer, name, importlib.import_module("slicer." + name))
        self._make_views()
        self.window = qSlicerMainWindow(self.app)
        self.window.setCentralWidget(self.app._layout.viewport())
        self.window.resize(*size)
        self.window.show()
        self._catch_exceptions()
        from . import sampledata

        sampledata.install(self)
        self.process()

    # -- assembly
    @staticmethod
    def _read_headers(slicer_source, ctk_source):
        if not slicer_source:
            return {}, set()
        roots = [os.path.join(slicer_source, folder) for folder in HEADER_FOLDERS]
        if ctk_source:
            roots.append(os.path.join(ctk_source, "Libs"))
        return headers.index([root for root in roots if os.path.isdir(root)]), headers.decorated(roots)

    def _install_widgets(self, classes):
        for name, cls in classes.items():
            setattr(self.slicer, name, cls)
            custom_widgets[name] = cls
        for name, cls in vars(self.ctk).items():
            if name.startswith("ctk") and isinstance(cls, type) and issubclass(cls, QtWidgets.QWidget):
                custom_widgets[name] = cls
        for name, cls in custom_widgets.items():  # the C++ enums which the shims do not spell out
            if name in self.index:
                for key, value in headers.full_api(self.index, name)[0]["enums"].items():
                    if not hasattr(cls, key):
                        setattr(cls, key, value)

    def _make_views(self):
        from . import layoutmanager, plotview, views

        self.slicer.qMRMLSliceWidget, self.slicer.qMRMLThreeDWidget = views.qMRMLSliceWidget, views.qMRMLThreeDWidget
        self.slicer.qMRMLPlotWidget, self.slicer.qMRMLPlotView = plotview.qMRMLPlotWidget, plotview.qMRMLPlotView
        self.app._layout = layoutmanager.qSlicerLayoutManager(self.app._app_logic, self.slicer.mrmlScene)

    @staticmethod
    def _catch_exceptions():
        previous = sys.excepthook

        def hook(kind, value, traceback):  # VTK observers and Qt slots end here: printed, never raised
            problem("exception", f"{kind.__name__}: {value}")
            previous(kind, value, traceback)

        sys.excepthook = hook

    # -- use
    def process(self, ms=0):
        """Let Qt handle its events, for ``ms`` milliseconds."""
        self.app.processEvents()
        if ms:
            loop = QtCore.QEventLoop()
            QtCore.QTimer.singleShot(ms, loop.quit)
            loop.exec()

    def wait(self, condition, seconds=60.0, step_ms=20):
        """Run the event loop until ``condition()`` holds; False when the time is over."""
        timer = QtCore.QElapsedTimer()
        timer.start()
        while not condition():
            if timer.elapsed() > 1000 * seconds:
                return False
            self.process(step_ms)
        return True

    def load_module(self, path, select=True):
        """Import a scripted module, make Module and Widget, run setup(), enter it."""
        path = os.path.abspath(path)
        name = os.path.splitext(os.path.basename(path))[0]
        folder = os.path.dirname(path)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        parent = self.slicer.qSlicerScriptedLoadableModule(path)
        instance = getattr(module, name)(parent)
        parent._py = instance
        setattr(self.slicer.modules, name + "Instance", instance)
        self.app._modules._add(parent)
        if select:
            self.select(name)
        return module

    def select(self, name):
        """Show the module's panel, as choosing it in the module selector does."""
        self.window.show_module(name)
        self.process()

    def widget(self, name):
        """The module's Python widget."""
        return self.slicer.util.getModule(name).widgetRepresentation().self()

    def close(self):
        """Remove what was written to the disk."""
        shutil.rmtree(self.app.temporaryPath, ignore_errors=True)

    def startup_completed(self):
        """Tell the modules that the application has started."""
        self.app.startupCompleted.emit()

    def click(self, button):
        """Click as a user would: refuses hidden or disabled buttons."""
        if not button.isEnabled():
            raise RuntimeError(f"button '{button.text}' is disabled")
        if not button.isVisible():
            raise RuntimeError(f"button '{button.text}' is not visible")
        self.reveal(button)
        QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton)
        self.process()

    def reveal(self, widget):
        """Scroll the module panel to a widget."""
        self.window._scroll.ensureWidgetVisible(widget)
        self.process()

    def grab(self, path, widget=None):
        """Save a picture of the window or of a widget."""
        self.process(30)
        (widget or self.window).grab().save(str(path))
        return path

    def run_test_case(self, name):
        """Each test_* method of the module's own test class as its own unittest result."""
        cls = getattr(sys.modules[name], name + "Test")
        suite = unittest.TestSuite(cls(m) for m in unittest.TestLoader().getTestCaseNames(cls))
        return unittest.TextTestRunner(verbosity=2).run(suite)
