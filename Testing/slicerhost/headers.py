"""Reads Qt C++ headers (of Slicer and CTK source trees) for a class's scriptable API.

Used twice: to make a *strict* stub for a widget class without a shim (it has exactly the
properties, slots and signals of the real one) and to check that the shims invent nothing.
"""

import os
import re

_CLASS = re.compile(r"^\s*class\s+(?:\w+_EXPORT\s+)?(\w+)\s*(?:final\s*)?(?::\s*public\s+([\w:]+)|\{|\n\s*\{)", re.M)


def empty_api():
    """The scriptable API of a class that has none."""
    return {
        "properties": {},
        "invokables": set(),
        "slots": set(),
        "signals": {},
        "public": set(),
        "returns": {},
        "enums": {},
    }


def index(roots):
    """Class name -> (header, base class) of all classes under the given folders."""
    out = {}
    for root in roots:
        for d, _dirs, files in os.walk(root):
            for f in files:
                if f.endswith(".h") and not f.endswith("_p.h"):
                    p = os.path.join(d, f)
                    text = _read(p)
                    for m in _CLASS.finditer(text):
                        out.setdefault(m.group(1), (p, m.group(2)))
    return out


def decorated(roots):
    """Names which ``*PythonQtDecorators.h`` add to classes (static methods without their class prefix)."""
    names = set()
    for root in roots:
        for folder, _dirs, files in os.walk(root):
            for name in files:
                if name.endswith("PythonQtDecorators.h"):
                    text = _read(os.path.join(folder, name))
                    names |= {n.split("_")[-1] for n in re.findall(r"\b(\w+)\s*\([^)]*\)\s*\{", text)}
    return names


def second_bases(path, name):
    """The further base classes of a class, beside the first."""
    text = _strip(_read(path))
    m = re.search(rf"class\s+(?:\w+_EXPORT\s+)?{re.escape(name)}\s*:([^;{{]*)\{{", text)
    return re.findall(r"public\s+(?:virtual\s+)?([\w:]+)", m.group(1))[1:] if m else []


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _strip(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"//[^\n]*", "", text)


def parse(path, name):
    """API of one class, without its bases; None when the header has no body of it."""
    text = _strip(_read(path))
    m = re.search(rf"class\s+(?:\w+_EXPORT\s+)?{re.escape(name)}\b[^;{{]*\{{", text)
    if not m:
        return None
    i, depth = m.end(), 1
    while i < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        i += 1
    body = text[m.end() : i]
    api = empty_api()
    for p in re.finditer(r"Q_PROPERTY\s*\(\s*([\w:<>\s\*]+?)\s+(\w+)\s+READ\s+(\w+)(?:[^)]*?WRITE\s+(\w+))?", body):
        api["properties"][p.group(2)] = (p.group(1), p.group(3), p.group(4))
    for p in re.finditer(r"Q_INVOKABLE\s+([^;(]*?)(\w+)\s*\(", body):
        api["invokables"].add(p.group(2))
        api["returns"][p.group(2)] = re.sub(r"\b(static|virtual|const)\b", "", p.group(1)).strip()
    for p in re.finditer(r"\benum\s+(?:class\s+)?(\w*)[^{;]*\{([^}]*)\}", body):
        value = -1
        for item in p.group(2).split(","):
            mm = re.match(r"\s*(\w+)\s*(?:=\s*([^\s].*))?$", item.strip(), re.S)
            if not mm:
                continue
            if mm.group(2):
                try:
                    value = int(eval(mm.group(2), {}, dict(api["enums"])))
                except Exception:
                    continue
            else:
                value += 1
            api["enums"][mm.group(1)] = value
    parts = re.split(r"\b(public|protected|private)?\s*(slots|Q_SLOTS|signals|Q_SIGNALS)?\s*:(?!:)", body)
    # parts: text, access, kind, text, access, kind, text...
    for k in range(1, len(parts) - 2, 3):
        access, kind, chunk = parts[k], parts[k + 1], parts[k + 2]
        fns = re.findall(r"\b(\w+)\s*\(([^;{]*?)\)\s*(?:const)?\s*(?:override)?\s*(?:=\s*0)?\s*[;{]", chunk)
        if kind in ("signals", "Q_SIGNALS"):
            for n, a in fns:
                api["signals"].setdefault(n, []).append(a)
        elif kind in ("slots", "Q_SLOTS") and access == "public":
            api["slots"].update(n for n, _a in fns)
        elif access == "public":
            api["public"].update(n for n, _a in fns)
    return api


def full_api(idx, name):
    """API of the class and of its Slicer/CTK bases, plus the first Qt base class."""
    total = empty_api()
    base = name
    while base in idx:
        path, up = idx[base]
        api = parse(path, base)
        if api:
            for k, v in api.items():
                if isinstance(v, dict):
                    for kk, vv in v.items():
                        total[k].setdefault(kk, vv)
                else:
                    total[k] |= v
        for mixin in second_bases(path, base):
            for k, v in (parse(idx[mixin][0], mixin) if mixin in idx else {}).items():
                total[k] = {**v, **total[k]} if isinstance(v, dict) else total[k] | v
        base = up
    return total, base
