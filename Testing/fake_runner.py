"""A stand-in for the process that enhances: does something simple at once, in steps, and can be told to fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.inference.provenance import Provenance, write_sidecar
from MRHarmonizationLib.inference.strength import apply_strength
from MRHarmonizationLib.inference.undo import make_residual, voxel_digest
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.resampling import resample


class FakeRunner:
    """A ``ProcessRunner`` without processes.

    Parameters
    ----------
    steps : int
        Looks at the process before it ends.
    error : MRHarmonizationError, optional
        What it fails with.
    afterwards : callable(command), optional
        Called when the files are written.
    """

    def __init__(
        self,
        steps: int = 3,
        error: MRHarmonizationError | None = None,
        afterwards: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self.steps, self.error, self.afterwards = steps, error, afterwards
        self.processes: list[FakeProcess] = []

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> FakeProcess:
        self.processes.append(FakeProcess(self, list(command)))
        return self.processes[-1]


class FakeProcess:
    """A ``RunningProcess``: each look is one step."""

    def __init__(self, runner: FakeRunner, command: list[str]) -> None:
        self.command, self.killed = command, False
        self._runner, self._looks = runner, 0

    def option(self, name: str, default: str = "") -> str:
        return self.command[self.command.index(name) + 1] if name in self.command else default

    def lines(self) -> list[str]:
        self._looks += 1
        done = self._looks / self._runner.steps
        events: list[dict[str, Any]] = [{"event": "progress", "fraction": min(done, 1.0), "message": "Working"}]
        if self._looks == self._runner.steps:
            error = self._runner.error
            if error is not None:
                said = {"problem": error.problem, "remedy": error.remedy, "exit_code": error.exit_code}
                events.append({"event": "error", "kind": error.kind, **said})
            else:
                events.append({"event": "result", **enhance_simply(self)})
                if self._runner.afterwards is not None:
                    self._runner.afterwards(self.command)
        return [json.dumps(event) for event in events]

    def exit_code(self) -> int | None:
        if self._looks < self._runner.steps:
            return None
        return 0 if self._runner.error is None else self._runner.error.exit_code

    def error_output(self) -> str:
        return ""

    def kill(self) -> None:
        self.killed = True


def enhance_simply(process: FakeProcess) -> dict[str, Any]:
    """Write what the command line would: 'enhanced' is the scan with 20 % more contrast at each second slice."""
    source, target = Path(process.command[4]), Path(process.command[5])
    scan = read_volume(source)
    baseline = resample(scan, scan.grid.isotropic(float(process.option("--spacing", "1"))))
    change = np.float32(0.2) * baseline.array
    change[::2] = 0
    strength = float(process.option("--strength", "1"))
    enhanced = baseline.with_array(apply_strength(baseline.array, change, strength))
    residual = process.option("--residual")
    if residual:
        write_volume(make_residual(baseline, enhanced), residual)
    write_volume(enhanced, target)
    provenance = Provenance(
        operation="enhance",
        model_id=process.option("--model"),
        model_version="1",
        weights_sha256="0" * 64,
        library_version="0",
        parameters={"model": process.option("--model"), "strength": strength},
        input_digest=scan.digest(),
        output_digest=voxel_digest(enhanced.array),
        input_name=scan.name,
    )
    write_sidecar(provenance, target)
    return {"measurements": [], "provenance": provenance.to_dict(), "warnings": []}
