"""What ended lately: the steps of a run, added up to the rows and tiles of the live page."""

from collections import deque

from emulator.results.window import Window, p95

ROWS = 10  # of `feed.ROW_S`; the numbers in the tiles cover so many


class Recent:
    """`take` after every step, `row` when a row is due."""

    def __init__(self) -> None:
        self._fresh: list[Window] = []  # since the last row
        self._past: deque[Window] = deque(maxlen=ROWS)
        self._last: Window | None = None

    def take(self, window: Window) -> None:
        """Takes in the newest step; the same again where time stood still."""
        if window is not self._last:
            self._last = window
            self._fresh.append(window)

    def row(self) -> Window:
        """Returns what ended since the last row."""
        window = Window.together(self._fresh)
        self._fresh.clear()
        self._past.append(window)
        return window

    def tiles(self, urgent: int) -> dict[str, float | None]:
        """Returns the numbers of the last `ROWS` rows together; `urgent` is the first class."""
        past = Window.together(self._past)
        return {
            "peak_p95": p95(past.peaks_s[urgent]),
            "delay_p95": p95(past.delays_s()),
            "lost": past.lost.total() / past.span_s if past.span_s else None,
            "loss": past.uplink_loss_ratio,
        }
