"""Registries: things found by name, filled by importing the files of a folder once."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from MRHarmonizationLib.core.errors import ParameterError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one kind.

    Parameters
    ----------
    kind : str
        What the entries are, for messages ("metric", "degradation").
    package : str
        Dotted name of the package whose modules register themselves on import; imported at first use.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates under ``name``."""

        def add(entry: T) -> T:
            if name in self._entries and self._entries[name] is not entry:
                raise ParameterError(f"{self.kind} '{name}' is registered twice", "give one of them another name")
            self._entries[name] = entry
            return entry

        return add

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True  # before the imports: they may ask for names themselves
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
        except BaseException:
            self._loaded = False  # a broken file is reported at every use, not only at the first
            raise

    def get(self, name: str) -> T:
        """Return the entry called ``name``; raise ParameterError naming the choices otherwise."""
        self._load()
        if name not in self._entries:
            raise ParameterError(f"unknown {self.kind} '{name}'", f"choose one of: {', '.join(self.names())}")
        return self._entries[name]

    def names(self) -> list[str]:
        """Return the sorted names."""
        self._load()
        return sorted(self._entries)

    def items(self) -> Iterator[tuple[str, T]]:
        """Iterate over (name, entry), sorted by name."""
        for name in self.names():
            yield name, self._entries[name]
