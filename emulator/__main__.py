"""`python -m emulator` and the console script `fresco`."""

import sys

from emulator import interrupts
from emulator.misplaced import misplaced


def main() -> None:
    interrupts.install()  # first: what follows imports for a second
    if complaint := misplaced():
        print(complaint, file=sys.stderr)
        sys.exit(2)
    from emulator.cli.main import fresco

    try:
        fresco(prog_name="fresco")
    except SystemExit as ended:
        interrupts.cut_short(ended.code)
        raise


if __name__ == "__main__":
    main()
