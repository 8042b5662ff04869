"""A daemon and a starter in namespaces of their own, whose sessions an ordinary user may begin."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

USER = 65534
GRANT = f"""
[access]
socket_group = "all"
[[grants]]
name = "matrix"
users = [{USER}]
allow = ["raw"]
"""


def enter():
    """Executes the script again in a network and a mount namespace, where bpffs and tracefs are mounted."""
    if os.environ.get("RUN_AS") != "inside":
        os.environ["RUN_AS"] = "inside"
        os.execvp("unshare", ["unshare", "--net", "--mount", *sys.argv])
    for prepare in ("ip link set lo up", "mount -t bpf none /sys/fs/bpf"):
        subprocess.run(prepare.split(), check=True)
    if not os.path.exists("/sys/kernel/debug/tracing"):
        subprocess.run("mount -t debugfs none /sys/kernel/debug".split(), check=False)
    if not os.path.exists("/sys/kernel/tracing/events"):
        subprocess.run("mount -t tracefs none /sys/kernel/tracing".split(), check=True)


def grant(work, keys=""):
    """Allows the user everything, or what keys of a grant leave."""
    (work / "policy.toml").write_text(GRANT + keys + "\n", encoding="utf-8")
    (work / "policy.toml").chmod(0o600)


def begin(words, ready, log):
    """Starts a process, and waits for the file that shows that it is ready."""
    process = subprocess.Popen(words, stderr=log)
    while not ready.exists():
        if process.poll() is not None:
            log.seek(0)
            sys.exit(log.read())
        time.sleep(0.05)
    return process


@contextlib.contextmanager
def stage(folder):
    """Yields a folder with a copy of another one, whose `bin` has the daemon, while the daemon runs."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="run-as.", dir="/var/tmp"))
    shutil.copytree(folder, work, dirs_exist_ok=True)
    os.environ["PATH"] = f"{work}/bin:{os.environ['PATH']}"
    work.chmod(0o755)
    grant(work)
    run, socket = work / "run", work / "socket"
    os.environ["BPFMAN_SOCKET_PATH"] = str(socket)
    flags = ["--allow-private-mounts", "--runtime-dir", run, "--socket-path", socket, "--state-dir", work / "state"]
    log, processes = (work / "log").open("w+"), []
    try:
        processes.append(begin(["bpfmand", "--policy", work / "policy.toml", *flags], socket, log))
        sessions = run / "sessions"
        processes.append(begin(["bpfman-session", "--runtime-dir", sessions], sessions / "starter.sock", log))
        socket.chmod(0o777)
        yield work
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)
        subprocess.run(["umount", "-l", run / "fs"], stderr=subprocess.DEVNULL, check=False)
        if log.tell() and os.environ.get("KEEP_LOG"):
            shutil.copy(work / "log", os.environ["KEEP_LOG"])
        shutil.rmtree(work, ignore_errors=True)
