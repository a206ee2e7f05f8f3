"""Stops one thread of a process, as a thread hangs that has gone wrong, until standard input ends.

Usage: freeze.py PID NAME: the first thread whose name begins so. Says "frozen" when it stands.
"""

import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000


def main():
    pid, name = sys.argv[1:]
    tasks = f"/proc/{pid}/task"
    threads = [int(task) for task in os.listdir(tasks) if open(f"{tasks}/{task}/comm").read().startswith(name)]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, threads[0], None, None) != 0:
            sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
    os.waitpid(threads[0], WALL)
    print("frozen", flush=True)
    # Our end lets it go on.
    sys.stdin.read()


main()
