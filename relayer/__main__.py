"""`python -m relayer` is the same as `relayer`."""

from __future__ import annotations

from relayer.cli import main

if __name__ == "__main__":
    main()
