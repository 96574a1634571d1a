"""Do the shims invent anything?  Compares their public names with the C++ headers.

    python -m slicerhost.conformance SLICER_SOURCE CTK_SOURCE [--missing]

prints names which a shim has and the real class has not (must be none), and, with --missing,
scriptable names (properties, slots, invokables, signals) which the shim lacks.
"""

import sys

from . import headers
from .qtbase import custom_widgets


def check(host):
    """Return (checked classes, invented names by class, missing names by class)."""
    bad, lacking = {}, {}
    names = {n: c for n, c in custom_widgets.items() if c.__module__.startswith("slicerhost.") and n in host.index}
    for name, cls in vars(host.slicer).items():
        if name.startswith(("qMRML", "qSlicer")) and isinstance(cls, type) and name in host.index:
            names[name] = cls
    for name, cls in sorted(names.items()):
        api, _base = headers.full_api(host.index, name)
        scriptable = set(api["properties"]) | api["invokables"] | api["slots"] | set(api["signals"])
        real = scriptable | set(api["enums"]) | api["public"] | host.decorated
        real |= {"set" + p[:1].upper() + p[1:] for p in api["properties"]}
        own = set()
        for base in cls.__mro__:
            if base.__module__.startswith("slicerhost."):
                own |= {a for a in base.__dict__ if not a.startswith("_")}
        qt_names = {a for base in cls.__mro__ if base.__module__.startswith("PySide6") for a in base.__dict__}
        if own - real - qt_names - {"staticMetaObject"}:
            bad[name] = sorted(own - real - qt_names - {"staticMetaObject"})
        if scriptable - own - qt_names:
            lacking[name] = sorted(scriptable - own - qt_names)
    return names, bad, lacking


def main():
    """Print what is invented; exit status 1 where anything is."""
    from .host import Host

    names, bad, lacking = check(Host(sys.argv[1], sys.argv[2]))
    print(f"{len(names)} shim classes checked against headers")
    for name, invented in bad.items():
        print("INVENTED", name, ", ".join(invented))
    if "--missing" in sys.argv:
        for name, missing in lacking.items():
            print("missing ", name, ", ".join(missing))
    print("missing names in all:", sum(map(len, lacking.values())))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
