"""What every part of the host shares: the Qt modules, the list of problems, scripted answers, properties."""

import ctypes
import logging
import sys

sys.pyside6_option_python_enum = 2  # IntEnum / IntFlag, as PythonQt's enums are ints
if sys.version_info < (3, 12):
    # PySide6 6.12 counts on None being immortal, as it is from Python 3.12 on: every call without a result takes one
    # reference too many, and some thousand calls later the interpreter ends. Give the singletons references to spare.
    for singleton in (None, True, False, NotImplemented):
        ctypes.c_ssize_t.from_address(id(singleton)).value += 1 << 40

from PySide6 import QtCore, QtGui, QtNetwork, QtTest, QtUiTools, QtWidgets, QtXml  # noqa: E402
from shiboken6 import Shiboken  # noqa: E402

__all__ = ["QtCore", "QtGui", "QtNetwork", "QtTest", "QtUiTools", "QtWidgets", "QtXml", "Shiboken"]

MODULES = [QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork, QtTest, QtXml]
problems = []  # everything that a real Slicer would have refused or that is stubbed
opened = []  # addresses that were to be opened in a browser or another program
answers = []  # scripted answers for modal dialogs (see take_answer)
custom_widgets = {}  # class name -> Python class, for .ui files
stub_factory = [None]  # callable(class name) -> class, for classes without a shim
ui_loading = [False]  # PySide6 makes a loaded form's children attributes of it; Qt in Slicer does not
log = logging.getLogger("slicerhost")


def problem(kind, text):
    """Record something that a real Slicer would have refused, or that is a stub."""
    problems.append((kind, text))
    log.warning("%s: %s", kind, text)


def take_answer(kind, text, default=None):
    """Answer for a modal dialog. ``answers`` holds values or callables(kind, text)."""
    if answers:
        a = answers.pop(0)
        return a(kind, text) if callable(a) else a
    problem("modal", f"{kind}: {text} -> {default!r} (no scripted answer)")
    return default


def props(**spec):
    """Class-body helper: ``locals().update(props(value=(float, 0.0, "_on_value")))``.

    Makes a Qt property, its ``setX`` slot and a private store for each name.
    """
    out = {}
    for name, s in spec.items():
        typ, default = s[0], s[1]
        hook = s[2] if len(s) > 2 else None
        store = "_p_" + name
        cap = name[:1].upper() + name[1:]

        def fget(self, store=store, default=default, strings=(typ == "QStringList")):
            v = self.__dict__.get(store, default)
            return tuple(v) if strings else v  # PythonQt hands out string lists as tuples

        def fset(self, value, store=store, hook=hook, default=default, typ=typ):
            if type(default) is bool:
                value = bool(value)
            elif typ == "QStringList":
                value = [value] if isinstance(value, str) else list(value)
            old = self.__dict__.get(store, default)
            self.__dict__[store] = value
            if hook:
                getattr(self, hook)(value, old)

        out[name] = QtCore.Property(typ, fget, fset)
        out["set" + cap] = fset
    return out
