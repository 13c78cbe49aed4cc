"""Asks an agent RATE times a second for SECONDS: agent-load.py HOST RATE SECONDS. Prints what it answered.

An answer that comes after more than a second is late: HAProxy has stopped waiting for it.
"""

import collections
import socket
import sys
import threading
import time

host, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
answers: collections.Counter[str] = collections.Counter()
slowest = 0.0
late = 0
lock = threading.Lock()


def ask() -> None:
    global slowest, late
    began = time.monotonic()
    try:
        with socket.create_connection((host, 9707), timeout=60) as connection:
            connection.sendall(b"cpu 90 publishers 100;")
            line = connection.makefile().readline().strip()
    except OSError as error:
        line = f"error: {error}"
    took = time.monotonic() - began
    with lock:
        answers[line.split("%")[0].rstrip("0123456789") or "nothing"] += 1
        slowest = max(slowest, took)
        late += took > 1


threads = []
start = time.monotonic()
for number in range(rate * seconds):
    time.sleep(max(0, start + number / rate - time.monotonic()))
    threads.append(threading.Thread(target=ask))
    threads[-1].start()
for thread in threads:
    thread.join()
print(dict(answers), f"late {late} slowest {slowest:.2f} s")
