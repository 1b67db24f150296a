"""Read, split and check labelled data.

No paper: `records` says what a record is, `sources` finds the files of a source, `readers` read one format each,
`splits` deals records out, `checks` says what is wrong with them, `prepare` writes a folder of checked splits.
"""

from laconic.data import records
from laconic.data.records import digest, labels
from laconic.data.splits import asked, read_split, read_splits, unseen, with_texts

__all__ = ["asked", "digest", "labels", "read_split", "read_splits", "records", "unseen", "with_texts"]
