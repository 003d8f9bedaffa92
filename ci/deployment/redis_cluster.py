"""A Redis Cluster of three primaries, each with a replica, started by hand on free ports."""

import subprocess

from manifests import Fault
from processes import free_port
from services import wait_until

PRIMARIES = 3
SLOTS = 16384
# Silence after which the others take a node for dead: shorter, and a busy machine kills nodes.
SILENCE_MS = 3000


class Node:
    """A redis-server, its port and that of its bus."""

    def __init__(self, processes, folder, number):
        self.port, self.bus = free_port(), free_port()
        place = folder / f"node-{number}"
        place.mkdir()
        self.process = processes.start(
            f"redis node {number}",
            [
                "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--dir", str(place), "--cluster-enabled", "yes", "--cluster-port", str(self.bus),
                "--cluster-node-timeout", str(SILENCE_MS), "--repl-diskless-sync-delay", "0",
            ],
            {},
        )
        wait_until(lambda: self.ask("PING") == "PONG", f"redis node {number}")

    def ask(self, *words):
        """What `redis-cli` prints, or nothing if the node does not answer."""
        command = ["redis-cli", "-p", str(self.port), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def order(self, *words):
        said = self.ask(*words)
        if said != "OK":
            raise Fault(f"{' '.join(map(str, words))}: {said}")

    def is_ready(self, nodes):
        """Whether it knows of all, has an owner of each slot, and is in sync."""
        known = self.ask("CLUSTER", "NODES").splitlines()
        is_whole = "cluster_state:ok" in self.ask("CLUSTER", "INFO")
        information = self.ask("INFO", "replication")
        is_in_sync = "master_link_status:up" in information or "state=online" in information
        met = len(known) == nodes and not any("handshake" in line for line in known)
        return met and is_whole and is_in_sync


class RedisCluster:
    """Six nodes, primaries first, and their replicas in the same order."""

    def __init__(self, processes, folder):
        self.nodes = [Node(processes, folder, number) for number in range(2 * PRIMARIES)]
        for number, node in enumerate(self.nodes):
            node.order("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < PRIMARIES:
                first, behind = (n * SLOTS // PRIMARIES for n in (number, number + 1))
                node.order("CLUSTER", "ADDSLOTSRANGE", first, behind - 1)
            if number > 0:
                self.nodes[0].order("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
        everybody = len(self.nodes)
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes), "nodes meet")
        for primary, replica in zip(self.nodes, self.nodes[PRIMARIES:]):
            replica.order("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        wait_until(
            lambda: all(node.is_ready(everybody) for node in self.nodes), "the cluster is whole"
        )

    def _knows_all(self, node):
        known = node.ask("CLUSTER", "NODES").splitlines()
        return len(known) == len(self.nodes) and not any("handshake" in line for line in known)

    def url(self):
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def owner_of(self, key):
        """The number of the primary that has a key."""
        slot = int(self.nodes[0].ask("CLUSTER", "KEYSLOT", key))
        return next(n for n in range(PRIMARIES) if slot < (n + 1) * SLOTS // PRIMARIES)

    def kill(self, number):
        """Kills a primary, and waits until its replica has taken over."""
        self.nodes[number].process.kill()
        self.nodes[number].process.wait()
        heir = self.nodes[PRIMARIES + number]
        wait_until(lambda: "role:master" in heir.ask("INFO", "replication"), "the failover")
