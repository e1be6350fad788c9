"""A stand-in for `trellis host run` that speaks the supervisor's channel and nothing else.

Usage: fake_host.py BEHAVIOUR… --supervisor-fd N. Behaviours: `die` (ends before it is ready), `stubborn`
(ignores SIGTERM), `silent` (never says that it is ready), `listen PORT SOCKET`.
"""

import json
import signal
import socket
import sys


def main() -> int:
    behaviours, descriptor = sys.argv[1:-2], int(sys.argv[-1])
    channel = socket.socket(fileno=descriptor)
    if "stubborn" in behaviours:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("fake host says hello", flush=True)
    if "die" in behaviours:
        print("cannot go on: no reason", flush=True)
        return 3
    if "silent" not in behaviours:
        ready = {"event": "ready", "host_id": f"N{'A' * 55}", "friendly_name": "fake-host-1"}
        channel.sendall(json.dumps(ready).encode() + b"\n")
    while channel.recv(1):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
