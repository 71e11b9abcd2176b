"""What the commands of this directory have in common: their arguments, and how they come to an end."""

import argparse
import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from processes import Failure, Processes

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)


def names_of(known):
    """An argument that is a list of names with commas between them."""

    def parse(text):
        given = text.split(",")
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        return given

    return parse


def at_least(least, kind):
    def parse(text):
        value = kind(text)
        if value < least:
            raise ValueError
        return value

    parse.__name__ = f"number from {least} on"
    return parse


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def results_directory(name, date):
    """Where results of that date belong, unless told otherwise."""
    return os.path.join(BENCH, "results", f"{name}-{datetime.datetime.fromisoformat(date):%Y%m%d-%H%M}")


def carry_out(measure, keep):
    """Calls `measure` with Processes and a directory; its results, and the exit code. However it ends, also when it is ended
    from outside, no process is left, and the directory only where something failed or `keep` names a place for it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = Processes()
    if keep:
        os.makedirs(keep, exist_ok=True)
    work = tempfile.mkdtemp(prefix="quorate-bench-", dir=keep)
    failed = True
    try:
        results = measure(processes, work)
        failed = bool(results["failures"])
        return results, 1 if failed else 0
    except (Failure, subprocess.SubprocessError, OSError) as error:
        say(f"FAILED: {error}")
        return None, 1
    except KeyboardInterrupt:
        say("interrupted")
        failed = False
        return None, 130
    finally:
        # A second Ctrl-C does not keep it from cleaning up.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        processes.end_all()
        if (failed or keep) and os.listdir(work):
            say(f"data and logs: {work}")
        else:
            shutil.rmtree(work)
        signal.signal(signal.SIGINT, interrupt)
