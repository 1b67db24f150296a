"""What a model costs and what it is worth: each measure is one file with a record and a `take` that fills it.

No paper: a record's field names carry their units; none of the measures knows a task, a method or an engine by name.
"""
