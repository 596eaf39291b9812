"""The live line of `verbose=2`: how far a fit is, drawn by rich."""

import os
import threading
from typing import Any

from fastmlp.extras import import_extra
from fastmlp.training.callbacks import Epoch

_lock = threading.Lock()
_running: list[Any] = []  # the display and the bars on it: fits of several threads share one
_bars: set["Bar"] = set()
_forked = False  # then rich's console may be locked for ever, and shows what the other process has begun


class Bar:
    """A line for one fit, as a context manager and a callback: epochs, losses, score, rows a second, most time left.

    Parameters
    ----------
    most : int
        Epochs or iterations.
    n_rows : int
        Of an epoch.

    Raises
    ------
    ImportError
        If the extra `progress` is not installed.
    """

    def __init__(self, most: int, n_rows: int):
        check_bar()
        self._most, self._n_rows = most, n_rows
        self._seconds = 0.0

    def __enter__(self) -> "Bar":
        with _lock:
            if not _running:
                _running.append(_display())
                _running[0].start()
            self._display = _running[0]
            _bars.add(self)
            self._line = self._display.add_task("", total=self._most, numbers="", speed="")
        return self

    def __call__(self, epoch: Epoch) -> None:
        """Show an epoch that is over."""
        numbers = {"loss": epoch.loss, "validation": epoch.validation_loss, "score": epoch.validation_score}
        text = " ".join(f"{name} {value:.4f}" for name, value in numbers.items() if value is not None)
        seconds, self._seconds = epoch.seconds - self._seconds, epoch.seconds
        speed = f"{self._n_rows / seconds / 1000:,.0f}k rows/s" if seconds > 0 else ""
        self._display.update(self._line, completed=epoch.number, numbers=text, speed=speed)

    def __exit__(self, *exception: object) -> None:
        with _lock:
            _bars.discard(self)
            self._display.stop_task(self._line)
            if _bars:  # what many fits leave behind would fill the screen
                self._display.remove_task(self._line)
            else:
                _running.pop().stop()


def _begin_anew() -> None:
    """Forget the display of the process that was forked: what draws it is a thread of that one, and may have locks."""
    global _lock, _forked
    _lock, _forked = threading.Lock(), True
    _running.clear()
    _bars.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def check_bar() -> None:
    """Check that there can be a bar.

    Raises
    ------
    ImportError
        If the extra `progress` is not installed.
    """
    import_extra("rich.progress", "progress", "verbose=2")


def _display() -> Any:
    progress = import_extra("rich.progress", "progress", "verbose=2")
    return progress.Progress(
        progress.MofNCompleteColumn(),
        progress.BarColumn(bar_width=None),
        progress.TextColumn("{task.fields[numbers]} {task.fields[speed]}"),
        progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=import_extra("rich.console", "progress", "verbose=2").Console() if _forked else None,
        expand=True,
    )
