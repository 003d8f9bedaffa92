"""Threads that run for as long as a block does."""

import threading


class Threads:
    """One for each of these functions; they end when the block's end has set `stopping`."""

    def __init__(self, targets):
        self.stopping, self.targets, self.threads = threading.Event(), targets, []

    def __enter__(self):
        self.stopping.clear()
        self.threads = [threading.Thread(target=target) for target in self.targets]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
