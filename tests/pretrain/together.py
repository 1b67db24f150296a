"""One of several processes that pretrain, as torchrun starts it: OBJECTIVE CONFIG TEXT OUT [broken] [fsdp].

`broken` ends every process at the second check, as a kill would. `fsdp` has Accelerate take the processors for GPUs, to
which alone it deals models out.
"""

import os
import sys
from dataclasses import replace
from functools import partial

from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from laconic import pretrain, ranks

BROKEN = 9
made, whole, joined = pretrain._lesson, ranks.whole, AcceleratorState.__init__


def judged(judge, checks):
    """The figures of a check, which the second one does not live to give."""
    if next(checks) == 1:
        os._exit(BROKEN)
    return judge()


def lesson(*given):
    """A lesson that breaks off."""
    found = made(*given)
    return replace(found, judge=partial(judged, found.judge, iter(range(9))))


def believes(self, *given, **named):
    """Accelerate's state among supposed GPUs."""
    if named.get("fsdp_plugin") is not None:  # the first time; afterwards it is asked for without
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    joined(self, *given, **named)


def told(model):
    """The whole model, and on stdout whether it had been dealt out."""
    found = whole(model)
    print("dealt out" if found is not model else "not dealt out")
    return found


if __name__ == "__main__":
    objective, config, text, out, *how = sys.argv[1:]
    ranks.whole = told
    if "broken" in how:
        pretrain._lesson = lesson
    if "fsdp" in how:
        ranks.can_deal_out = lambda: True
        AcceleratorState.__init__ = believes
    pretrain.pretrain(objective, config, text, out, progress=False)
