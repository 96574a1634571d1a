"""Run one scripted module in the host.

    python -m slicerhost MODULE.py [--slicer SLICER_SOURCE --ctk CTK_SOURCE] [--script drive.py]
                         [--sample NAME=FILE ...] [--screenshot out.png] [--test] [--strict]

The script sees: host, slicer, qt, ctk, widget (the module's Python widget), module.
Without --slicer the stand-in Python files are used.  --strict fails on anything in host.problems.
"""

import argparse
import runpy
import sys
import traceback

from .host import Host


def main():
    """Parse the command line, run, print the problems; exit status 1 where anything failed."""
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("module")
    p.add_argument("--slicer")
    p.add_argument("--ctk")
    p.add_argument("--script")
    p.add_argument("--sample", action="append", default=[])
    p.add_argument("--screenshot")
    p.add_argument("--test", action="store_true")
    p.add_argument("--strict", action="store_true")
    a = p.parse_args()
    host = Host(a.slicer, a.ctk)
    host.samples.update(s.split("=", 1) for s in a.sample)
    passed, failed = 1, 0
    module = host.load_module(a.module)
    name = module.__name__
    if a.script:
        names = {"host": host, "slicer": host.slicer, "qt": host.qt, "ctk": host.ctk, "module": module}
        try:
            runpy.run_path(a.script, init_globals={**names, "widget": host.widget(name)})
            passed += 1
        except Exception:
            traceback.print_exc()
            failed += 1
    if a.screenshot:
        host.grab(a.screenshot)
    if a.test:
        result = host.run_test_case(name)
        bad = len(result.failures) + len(result.errors)
        passed, failed = passed + result.testsRun - bad, failed + bad
    for kind, text in host.problems:
        print(f"problem [{kind}] {text}")
    if a.strict:
        failed += len(host.problems)
    print(f"{passed} passed, {failed} failed")
    sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
