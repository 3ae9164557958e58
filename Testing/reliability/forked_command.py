"""`slicreg` in processes forked from one that has imported everything: 200 of them take minutes on a slow computer.

    python forked_command.py serve SOCKET      # until its standard input is closed
    python forked_command.py make FOLDER SOCKET   # a program PythonSlicer that asks the server, to be put on the path

The program looks like ``python -m SlicRegLib ...``: it prints what the command prints, ends with its exit code, and
passes SIGINT and SIGTERM on. If it is killed, the forked process ends as well.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
request = json.dumps([sys.argv[3:], os.getcwd()]).encode()
socket.send_fds(server, [request], [0, 1, 2])
worker = int(server.recv(20))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: os.kill(worker, number))
code = server.recv(20)
sys.exit(int(code) if code else 1)
"""


def make_client(folder: Path, address: str) -> None:
    """Write the program ``folder``/PythonSlicer, which `SlicRegLib.jobs.python.find_python` finds on the path."""
    program = folder / "PythonSlicer"
    program.write_text(CLIENT.format(python=sys.executable, socket=address))
    program.chmod(0o755)


def serve(address: str) -> None:
    """Run commands in forked processes until standard input is closed."""
    from functools import partial

    from SlicRegLib.cli.main import main
    from SlicRegLib.registration import result
    from SlicRegLib.results import register_files
    from SlicRegLib.results.overview import draw_overview

    result.INVERSE_SPACING_MM = 12.0  # coarse inverse fields and pictures, as in the tests of the command line
    register_files.draw_overview = partial(draw_overview, spacing_mm=8.0)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            request, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _work(connection, json.loads(request), streams, main)
            connection.close()
            for stream in streams:
                os.close(stream)


def _work(connection: socket.socket, request: list, streams: list[int], main) -> None:
    """In the forked process: run the command and tell the program its exit code."""
    arguments, folder = request
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    connection.sendall(str(os.getpid()).encode())

    def end_with_the_program() -> None:
        with suppress(OSError):
            connection.recv(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end_with_the_program, daemon=True).start()
    code: object = 1
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code if isinstance(code, int) else 0 if code is None else 1).encode())
        os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        make_client(Path(sys.argv[2]), sys.argv[3])
