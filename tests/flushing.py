"""What is flushed to disk, and what is renamed, in their order."""

import os


def watched(monkeypatch):
    """A list that grows: the inode of each file or folder that is flushed, and the target of each rename."""
    seen, fsync, replace = [], os.fsync, os.replace

    def flush(handle):
        seen.append(os.fstat(handle).st_ino)
        fsync(handle)

    def rename(source, target):
        seen.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    return seen


def is_last(seen, folder):
    """Whether all of a folder was flushed before it was put in its place, and then the folder that holds it."""
    before, after = seen[: seen.index(folder)], seen[seen.index(folder) + 1 :]
    return {path.stat().st_ino for path in (folder, *folder.iterdir())} <= {
        *before
    } and folder.parent.stat().st_ino in after
