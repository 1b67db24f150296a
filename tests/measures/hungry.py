"""What the memory measure runs in a process of its own."""


def eat(megabytes: int, word: str = "") -> int:
    held = bytearray(megabytes * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    print("noise before the reading", word[:5])
    return len(held)


def fail() -> None:
    raise ValueError("the planted failure")


def sleep() -> None:
    import time

    time.sleep(30)
