"""Nodes and constants of an ONNX graph, in one floating type."""

from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from skl2onnx.common._container import ModelComponentContainer
from skl2onnx.common._topology import Scope


class Nodes:
    """Adds to the graph that skl2onnx builds.

    Parameters
    ----------
    scope, container
        What skl2onnx passes to a converter.
    dtype : {numpy.float32, numpy.float64}
        Of all numbers with a fraction. Runtimes have operators for both, or for float32 alone.
    """

    def __init__(self, scope: Scope, container: ModelComponentContainer, dtype: type) -> None:
        self.scope, self.container, self.dtype = scope, container, dtype
        self.element_type = TensorProto.DOUBLE if dtype == np.float64 else TensorProto.FLOAT

    def constant(self, values: Any) -> str:
        """Return the name of a new constant: strings, whole numbers as int64, or numbers of `dtype`."""
        values, name = np.asarray(values), self.scope.get_unique_variable_name("constant")
        if values.dtype.kind in "OU":
            content = [text.encode() for text in values.tolist()]
            self.container.add_initializer(name, TensorProto.STRING, values.shape, content)
        else:
            values = values.astype(self.dtype if values.dtype.kind == "f" else np.int64)
            self.container.add_initializer(name, None, None, numpy_helper.from_array(values))
        return name

    def add(self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        """Return the name of the output of a new node; inputs: names, or what `constant` takes."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = output or self.scope.get_unique_variable_name(operator.lower())
        self.container.add_node(
            operator, names, [output], name=self.scope.get_unique_operator_name(operator), **attributes
        )
        return output
