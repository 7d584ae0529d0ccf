"""Recorded arrivals that run, but probably not as meant. Warnings as in `check.py`."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from emulator.build.plan import Plan
from emulator.checks.complaints import Complaint
from emulator.scenario.arrival_kinds import TraceArrivals

FEW = 0.1  # share of the instants: below, most of what was recorded never happens


def out_of_the_run(drawn: Plan) -> Iterator[Complaint]:
    """Warns of files of which no or few instants fall into the run: other units, or another zero.

    A file may be longer than the run; but not by much, unless its seconds are meant otherwise.
    """
    duration_s = drawn.scenario.duration_s
    for index, group in enumerate(drawn.scenario.users):
        if not isinstance(group.arrival, TraceArrivals):
            continue
        where, name = ("users", index, "arrival", "file"), Path(group.arrival.file).name
        times_s = drawn.arrivals[group.arrival.file]
        within = sum(at_s < duration_s for at_s in times_s)
        if not times_s:
            text = f"{name} has no instants: '{group.name}' makes no tasks"
            yield where, text, "write one instant a line, in seconds from the begin of the run"
        elif within < FEW * len(times_s):
            text = (
                f"{within or 'none'} of {len(times_s)} instants of {name}, from {times_s[0]:.12g} "
                f"to {times_s[-1]:.12g} s, fall into the run of {duration_s:g} s"
            )
            yield where, text, "count in seconds from the begin of the run, or raise duration_s"


def in_step(drawn: Plan) -> Iterator[Complaint]:
    """Warns of users who follow one file, and so all send at the same instants."""
    followers: defaultdict[str, list[int]] = defaultdict(list)
    users = drawn.scenario.users
    for index, group in enumerate(users):
        if isinstance(group.arrival, TraceArrivals):
            followers[group.arrival.file].append(index)
    for file, indices in followers.items():
        count = sum(users[index].count for index in indices)
        if count > 1 and any(at_s < drawn.scenario.duration_s for at_s in drawn.arrivals[file]):
            names = ", ".join(f"'{users[index].name}'" for index in indices)
            text = f"all {count} users of {names} send at the same instants, those of "
            remedy = "give each a file: a group of count 1"
            yield ("users", indices[-1], "arrival", "file"), text + Path(file).name, remedy
