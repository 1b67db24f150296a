"""Write a model as an ONNX graph, straight from its weights: no tracing, no exporter, no file.

No paper: the graph is laid out for ONNX Runtime's CPU kernels, after measuring them; each file says what it found.
"""

from laconic.lowering.encoder import Encoder, read
from laconic.lowering.write import Lowered, lower

__all__ = ["Encoder", "Lowered", "lower", "read"]
