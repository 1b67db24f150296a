"""What a run found, for people and programs: a terminal table, a JSON record, one HTML page.

No paper: presentation. Every figure shown is read from the record; nothing is measured here.
"""
