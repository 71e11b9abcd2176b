"""Processes that a run has started, and what they and others take of the machine."""

import os
import resource
import signal
import socket
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """What ends a run; said to the user as it is."""


class Processes:
    """Everything that must not outlive the run. Nothing else is ever signalled."""

    def __init__(self):
        self._running = []

    def start(self, command, log, **more):
        """Starts it in a session of its own, so that Ctrl-C reaches this script alone, which then ends it."""
        more = {"stdin": subprocess.DEVNULL, "stdout": log, **more}
        process = subprocess.Popen(command, stderr=log, start_new_session=True, **more)
        self._running.append(process)
        return process

    def end(self, process, how=signal.SIGKILL):
        """Ends it, stopped or not, and waits until its ports are free again."""
        if process.poll() is None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.remove(process)

    def end_all(self):
        for process in list(self._running):
            self.end(process)

    def cpu_seconds(self):
        """User and system time of this script, of all that it has started, and of those of them that have ended."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        running = sum(cpu_seconds(process.pid) for process in self._running if process.poll() is None)
        return own.ru_utime + own.ru_stime + ended_cpu_seconds() + running


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def ended_cpu_seconds():
    """User and system time of the children that have ended and were waited for."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def is_stopped(pid):
    """Whether each thread of it has stopped."""
    states = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat") as stat:
            states.add(stat.read().rpartition(")")[2].split()[0])
    return states == {"T"}


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def disk_bytes(path):
    """Bytes of the blocks below `path`. Files may come and go meanwhile."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def machine_cpu_seconds():
    """User and system time of all processes on this machine; interrupts are on nobody's account and not in it."""
    with open("/proc/stat") as lines:
        user, nice, system = lines.readline().split()[1:4]
    return (int(user) + int(nice) + int(system)) / TICKS


def check_ports(ports):
    for port in ports:
        with socket.socket() as attempt:
            # As servers do: a port that only old connections remember is free.
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError as error:
                raise Failure(f"port {port} is taken ({error.strerror}); QUORATE_BENCH_PORT=N takes others") from None
