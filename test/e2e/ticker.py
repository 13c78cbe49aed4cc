"""Connections that say a word ten times a second, and tell on standard output what they hear and how they end.

    ticker.py listen PORT WORD    says WORD to whoever connects
    ticker.py dial PORT ADDRESS   connects
"""

import socket
import sys
import threading
import time


def tick(connection: socket.socket) -> None:
    try:
        while True:
            connection.sendall(b"tick\n")
            time.sleep(0.1)
    except OSError as error:
        print(f"ended: {error}", flush=True)


def hear(connection: socket.socket) -> None:
    try:
        while word := connection.recv(1000):
            print(f"heard: {word!r}", flush=True)
    except OSError:
        pass  # tick says so


def serve(connection: socket.socket) -> None:
    threading.Thread(target=hear, args=[connection]).start()
    threading.Thread(target=tick, args=[connection]).start()


def main() -> None:
    mode, port, word = sys.argv[1:]
    if mode == "dial":
        serve(socket.create_connection((word, int(port)), timeout=10))
        print("ready", flush=True)
        return
    with socket.create_server(("", int(port))) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            connection.sendall(f"{word}\n".encode())
            serve(connection)


main()
