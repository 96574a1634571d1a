"""A PythonQt-flavoured ``qt`` module on top of PySide6.

PySide6 classes are changed *in place* (one process = one test host), so that
``type(widget) == qt.QCheckBox`` also holds for objects which C++ hands back.

What is reproduced:
  * every Q_PROPERTY is an attribute that can be read and assigned, and it wins
    over a getter of the same name (``w.width`` is an int, ``edit.text`` a str);
  * ``obj.connect("sig(type)", callable)`` / ``connect(sig, receiver, slot)`` /
    ``disconnect``; surplus signal arguments are dropped as PythonQt does;
  * dynamic properties and named children are attributes; ``obj.name``,
    ``className()``, ``delete()``; ``exec_``; int-like enums;
  * assigning an attribute that the C++ class has not raises AttributeError;
  * static dialog helpers return what PythonQt returns (a str, not a tuple);
  * modal dialogs never block: they take an answer from ``answers``.
"""

import sys
import types

from .dialogs import install_statics
from .pythonqt import patch
from .qtbase import MODULES, QtCore
from .uiloader import QUiLoader


def install():
    """Patch PySide6 and return the ``qt`` module (also put into sys.modules)."""
    if "qt" in sys.modules and getattr(sys.modules["qt"], "_slicerhost", False):
        return sys.modules["qt"]
    classes = []
    for m in MODULES:
        for n in dir(m):
            try:
                c = getattr(m, n)
            except Exception:
                continue
            if isinstance(c, type) and issubclass(c, QtCore.QObject):
                classes.append(c)
    patch(classes)
    install_statics()

    qt = types.ModuleType("qt", __doc__)
    qt._slicerhost = True
    extra = {
        "QUiLoader": QUiLoader,
        "QVariant": lambda v=None: v,
        "BoolResult": type(
            "BoolResult", (), {"__init__": lambda s: setattr(s, "value", True), "__bool__": lambda s: s.value}
        ),
        "Signal": QtCore.Signal,
        "Slot": QtCore.Slot,
        "Property": QtCore.Property,
    }
    qt.__dict__.update(extra)
    names = set(extra)
    for m in MODULES:
        for n in dir(m):
            if not n.startswith("_") and n not in qt.__dict__:
                qt.__dict__[n] = getattr(m, n)
                names.add(n)
    qt.__all__ = sorted(n for n in names if n[0] == "Q")
    sys.modules["qt"] = qt
    return qt
