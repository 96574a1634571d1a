"""``python -m MRHarmonizationLib …`` is the command line ``mrharmonize …``."""

from __future__ import annotations

from MRHarmonizationLib.cli import main

if __name__ == "__main__":
    main()
