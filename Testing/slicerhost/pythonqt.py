"""Makes PySide6's objects behave as PythonQt's: properties as attributes, string connections, strict names."""

import contextlib
import inspect
import re
import types

from .qtbase import QtCore, Shiboken, problem, ui_loading

_property = property
_patched = {}


def _find(cls, name):
    """The original (unpatched) class attribute, following the MRO."""
    for c in cls.__mro__:
        orig = _patched.get((c, name))
        if orig is not None:
            return orig
        d = c.__dict__.get(name)
        if d is not None and not isinstance(d, _property):
            return d
    return None


def _make_property(cls, pname):
    cap = pname[:1].upper() + pname[1:]
    getter = _find(cls, pname)
    if getter is None or type(getter) is QtCore.Signal:
        for alt in ("is" + cap, "has" + cap):
            getter = _find(cls, alt)
            if getter is not None:
                break
    setter = _find(cls, "set" + cap)

    def fget(self):
        if getter is not None:
            return getter.__get__(self, type(self))()
        return QtCore.QObject.property(self, pname)

    def fset(self, value):
        if setter is not None:
            try:
                return setter.__get__(self, type(self))(value)
            except TypeError:
                # PythonQt converts numbers freely (float -> int, int -> bool, ...)
                for conv in (int, bool, str):
                    try:
                        return setter.__get__(self, type(self))(conv(value))
                    except Exception:
                        continue
                raise
        QtCore.QObject.setProperty(self, pname, value)

    p = _property(fget, fset, doc="Q_PROPERTY " + pname)
    return p


def _patch_class(cls):
    mo = getattr(cls, "staticMetaObject", None)
    if mo is None:
        return
    own = {mo.property(i).name() for i in range(mo.propertyOffset(), mo.propertyCount())}
    inherited = {mo.property(i).name() for i in range(mo.propertyOffset())}
    todo = own | {n for n in inherited if n in cls.__dict__}
    for n in sorted(todo):
        current = cls.__dict__.get(n)
        # (isinstance(x, QtCore.Signal) loses a reference to False in PySide6 6.12: compare types instead)
        if type(current) in (QtCore.Signal, _property, QtCore.Property):
            continue
        if type(current) in (staticmethod, types.BuiltinFunctionType):  # QTimer.singleShot (Slicer does the same)
            continue
        p = _make_property(cls, n)
        if current is not None:
            _patched[(cls, n)] = current
        try:
            setattr(cls, n, p)
        except (TypeError, AttributeError):
            _patched.pop((cls, n), None)


_SIG = re.compile(r"^\s*2?\s*(\w+)\s*\((.*)\)\s*$", re.S)


def _split_args(text):
    text = text.strip()
    if not text:
        return []
    out, depth, cur = [], 0, ""
    for ch in text:
        depth += ch in "<(" and 1 or 0
        depth -= ch in ">)" and 1 or 0
        if ch == "," and depth == 0:
            out.append(cur.strip())
            cur = ""
        else:
            cur += ch
    return out + [cur.strip()]


def _max_args(func):
    """How many positional arguments PythonQt would pass at most (None: all)."""
    f = func
    skip = 0
    if inspect.ismethod(f):
        f, skip = f.__func__, 1
    code = getattr(f, "__code__", None)
    if code is None:
        if not isinstance(func, type) and hasattr(type(func).__call__, "__code__"):
            code, skip = type(func).__call__.__code__, 1
        else:
            # builtins / bound Qt slots: find out by signature, else pass everything
            try:
                ps = inspect.signature(func).parameters.values()
                if any(p.kind == p.VAR_POSITIONAL for p in ps):
                    return None
                return len([p for p in ps if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])
            except (TypeError, ValueError):
                return None
    if code.co_flags & inspect.CO_VARARGS:
        return None
    return max(0, code.co_argcount - skip)


def _connect(self, signal, *target):
    m = _SIG.match(signal if isinstance(signal, str) else bytes(signal).decode())
    if not m:
        raise ValueError(f"QObject::connect(): not a signal signature: {signal!r}")
    name, args = m.group(1), _split_args(m.group(2))
    inst = _signal_instance(self, name, args)
    if inst is None:
        problem("connect", f"signal '{signal}' does not exist on {type(self).__name__}")
        return False
    if len(target) == 1 and callable(target[0]):
        func = target[0]
    elif len(target) >= 2 and isinstance(target[0], QtCore.QObject):
        sm = _SIG.match(target[1])
        slot_name = sm.group(1) if sm else target[1]
        func = getattr(target[0], slot_name, None)
        if func is not None and hasattr(func, "emit"):
            func = func.emit  # signal to signal
        if not callable(func):
            problem("connect", f"slot '{target[1]}' does not exist on {type(target[0]).__name__}")
            return False
    else:
        raise TypeError(f"connect(): cannot connect to {target!r}")
    adapter = getattr(type(self), "_pq_adapters", {}).get((name, tuple(args)))
    nsig = len(args)
    limit = _max_args(func)

    def relay(*values):
        if adapter is not None:
            values = adapter(*values)
        values = values[:nsig]
        if limit is not None:
            values = values[:limit]
        try:
            return func(*values)
        except Exception:
            problem("slot", f"exception in slot of {type(self).__name__}.{name}")
            raise

    inst.connect(relay)
    conns = self.__dict__.setdefault("_pq_conns", [])
    conns.append((name, tuple(args), func, relay))
    return True


def _disconnect(self, signal, *target):
    m = _SIG.match(signal if isinstance(signal, str) else bytes(signal).decode())
    name, args = m.group(1), tuple(_split_args(m.group(2)))
    conns = self.__dict__.get("_pq_conns", [])
    func = target[0] if len(target) == 1 else (getattr(target[0], _SIG.match(target[1]).group(1)) if target else None)
    done = False
    for c in list(conns):
        if c[0] == name and (func is None or c[2] == func):
            with contextlib.suppress(RuntimeError, TypeError):
                _signal_instance(self, name, list(args)).disconnect(c[3])
            conns.remove(c)
            done = True
    return done


def _signal_instance(obj, name, args):
    inst = None
    try:
        inst = _orig_getattribute(obj, name)
    except AttributeError:
        return None
    if not hasattr(inst, "connect"):
        # a property hides the signal (never in Qt itself); look it up by class
        return None
    mo = obj.metaObject()
    norm = bytes(QtCore.QMetaObject.normalizedSignature("{}({})".format(name, ",".join(args))).data()).decode()
    if mo.indexOfSignal(norm) >= 0:
        try:
            keys = norm[len(name) + 1 : -1]
            return inst[keys] if keys and "PyObject" not in keys else inst
        except (KeyError, IndexError, TypeError):
            return inst
    for i in range(mo.methodCount()):
        mm = mo.method(i)
        if mm.methodType() == QtCore.QMetaMethod.Signal and bytes(mm.name().data()).decode() == name:
            declared = [bytes(t.data()).decode() for t in mm.parameterTypes()]
            if "PyObject" in declared or not args:
                return inst
    if (name, tuple(args)) in getattr(type(obj), "_pq_adapters", {}):
        return inst
    return None


_orig_getattribute = None


def _getattribute(self, name):
    if name == "connect" or name == "disconnect":
        native = _orig_getattribute(self, name)
        mine = _connect if name == "connect" else _disconnect
        return lambda *a: mine(self, *a) if a and isinstance(a[0], str) and a[0][:1] != "2" else native(*a)
    return _orig_getattribute(self, name)


def _getattr_fallback(self, name):
    if name.startswith(("__", "_pq")):
        raise AttributeError(name)
    if name.encode() in [bytes(p.data()) for p in self.dynamicPropertyNames()]:
        return QtCore.QObject.property(self, name)
    for child in self.children():
        if child.objectName == name:
            return child
    try:
        return getattr(type(self), name)  # unscoped enum values, also through an instance
    except AttributeError:
        pass
    raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


def _is_cpp_like(cls):
    return cls.__module__.startswith("PySide6") or cls.__dict__.get("_pq_shim", False)


def _make_setattr(orig):
    def _setattr(self, name, value):
        cls = type(self)
        if type(value) is QtCore.SignalInstance:  # PySide6 keeps these on the object itself
            self.__dict__[name] = value
            return
        if _is_cpp_like(cls) and not name.startswith("_"):
            desc = None
            for c in cls.__mro__:
                if name in c.__dict__:
                    desc = c.__dict__[name]
                    break
            if desc is None:
                if ui_loading[0]:
                    return
                if name.encode() in [bytes(p.data()) for p in self.dynamicPropertyNames()]:
                    self.setProperty(name, value)
                    return
                raise AttributeError(
                    f"Attribute '{name}' does not exist on {cls.__name__} and creation of new attributes on C++ "
                    "objects is not allowed"
                )
            if not hasattr(type(desc), "__set__") and type(desc) is not QtCore.Property:
                raise AttributeError(f"'{name}' of {cls.__name__} is a method or signal and cannot be overwritten")
        for c in cls.__mro__:
            d = c.__dict__.get(name)
            if d is not None:
                if type(d) is QtCore.Property:
                    setter = getattr(type(self), "set" + name[:1].upper() + name[1:], None)
                    if isinstance(setter, types.FunctionType):
                        setter(self, value)
                    else:
                        self.setProperty(name, value)
                    return
                break
        _base_setattr(self, name, value)

    return _setattr


_base_setattr = Shiboken.Object.__setattr__


def patch(classes):
    """Change the given PySide6 classes in place."""
    global _orig_getattribute
    classes = sorted(set(classes), key=lambda c: len(c.__mro__), reverse=True)  # leaves first: originals stay visible
    for c in classes:
        _patch_class(c)
    _orig_getattribute = QtCore.QObject.__getattribute__
    QtCore.QObject.__getattribute__ = _getattribute
    QtCore.QObject.__getattr__ = _getattr_fallback
    for c in classes:
        if "__setattr__" in c.__dict__:
            c.__setattr__ = _make_setattr(c.__setattr__)
    QtCore.QObject.name = _property(lambda s: s.objectName, lambda s, v: s.setObjectName(v))
    QtCore.QObject.className = lambda s: s.metaObject().className()
    QtCore.QObject.delete = lambda s: s.deleteLater()
