"""Modal dialogs: they never block, they take a scripted answer. What is opened in other programs is written down."""

from .qtbase import QtCore, QtGui, QtWidgets, opened, take_answer


def _exec_dialog(self, *a):
    text = ""
    if isinstance(self, QtWidgets.QMessageBox):
        text = self.text
        return take_answer("QMessageBox", text, QtWidgets.QMessageBox.Ok)
    return take_answer(type(self).__name__, self.windowTitle, QtWidgets.QDialog.Rejected)


def install_statics():
    W = QtWidgets

    def pick(orig, kind, empty):
        def f(*a, **k):
            return take_answer(kind, str(a[1:3]), empty)

        return staticmethod(f)

    W.QFileDialog.getOpenFileName = pick(None, "getOpenFileName", "")
    W.QFileDialog.getSaveFileName = pick(None, "getSaveFileName", "")
    W.QFileDialog.getOpenFileNames = pick(None, "getOpenFileNames", [])
    W.QFileDialog.getExistingDirectory = pick(None, "getExistingDirectory", "")
    W.QInputDialog.getText = pick(None, "getText", "")
    W.QInputDialog.getItem = pick(None, "getItem", "")
    W.QInputDialog.getInt = pick(None, "getInt", 0)
    W.QInputDialog.getDouble = pick(None, "getDouble", 0.0)
    for n, d in (
        ("question", W.QMessageBox.No),
        ("warning", W.QMessageBox.Ok),
        ("information", W.QMessageBox.Ok),
        ("critical", W.QMessageBox.Ok),
    ):
        setattr(W.QMessageBox, n, pick(None, "QMessageBox." + n, d))
    QtGui.QDesktopServices.openUrl = staticmethod(lambda url: opened.append(url.toString()) or True)
    for c in (W.QDialog, W.QMessageBox, W.QFileDialog, W.QInputDialog, W.QProgressDialog):
        c.exec = _exec_dialog
        c.exec_ = _exec_dialog
    for c in (QtCore.QEventLoop, QtCore.QCoreApplication, W.QApplication, W.QMenu):
        if not hasattr(c, "exec_"):
            c.exec_ = c.exec
    color_name = QtGui.QColor.name
    QtGui.QColor.name = lambda c, f=0: color_name(c, QtGui.QColor.NameFormat(int(f)))  # PythonQt takes ints for enums
    orig_menu_init = W.QMenu.__init__

    def menu_init(self, *a, **k):
        orig_menu_init(self, *[x for x in a if isinstance(x, (str, W.QWidget)) or x is None], **k)

    W.QMenu.__init__ = menu_init
