"""`python -m emulator` and the console script `fresco`."""

import sys

from emulator.misplaced import misplaced


def main() -> None:
    if complaint := misplaced():
        print(complaint, file=sys.stderr)
        sys.exit(2)
    from emulator.cli.main import fresco

    fresco(prog_name="fresco")


if __name__ == "__main__":
    main()
