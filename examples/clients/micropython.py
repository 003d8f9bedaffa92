"""A device in MicroPython: posts metrics over a socket, with nothing but what a board has.

    micropython micropython.py HOST PORT [DEVICE [COUNT]]

A board that has no clock sends no timestamp; the server then takes the moment at which the metric
came, and says which it was. Runs under CPython as well: only what both have is used here.
"""

import json
import socket
import sys
import time

TRIES = 5


def connect(host, port):
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    connection = socket.socket(address[0], socket.SOCK_STREAM)
    connection.connect(address[-1])
    return connection


def send(connection, host, body):
    """Sends one request and reads its answer: the status, the JSON, and whether it was the last."""
    head = "POST /metrics HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (host, len(body))
    left = head.encode() + body
    while left:
        left = left[connection.send(left) :]
    received = b""
    while b"\r\n\r\n" not in received:
        received += receive(connection)
    head, received = received.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    length = 0
    is_last = False
    for line in lines[1:]:
        name, value = line.split(":", 1)
        if name.lower() == "content-length":
            length = int(value)
        elif name.lower() == "connection":
            is_last = value.strip().lower() == "close"
    while len(received) < length:
        received += receive(connection)
    return int(lines[0].split(" ")[1]), json.loads(received.decode()), is_last


def receive(connection):
    piece = connection.recv(512)
    if not piece:
        raise OSError("the server has closed the connection")
    return piece


def main(host, port, device="board-1", count="10"):
    connection = None
    for number in range(int(count)):
        # As sensors are read: integers, scaled by hand.
        tenths = 10 * (40 + number)
        body = '{"device_id":"%s","cpu":%d.%d,"rps":%d}' % (
            device, tenths // 10, tenths % 10, 1000 + 10 * number,
        )
        for attempt in range(TRIES):
            try:
                connection = connection or connect(host, int(port))
                status, said, is_last = send(connection, host, body.encode())
            except OSError as error:
                status, said, is_last = 0, error, True
            # A connection has its age, and then its last answer says so.
            if is_last and connection:
                connection.close()
                connection = None
            # Nobody there, 429 or 503: later once more. Everything else is for good.
            if status not in (0, 429, 503) or attempt + 1 == TRIES:
                break
            time.sleep(1)
        if status != 202:
            raise SystemExit("%d %s" % (status, said))
        print(said)
    if connection:
        connection.close()


if len(sys.argv) < 3:
    raise SystemExit("usage: micropython.py HOST PORT [DEVICE [COUNT]]")
main(*sys.argv[1:])
