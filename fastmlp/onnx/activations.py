"""Activations as ONNX operators.

To add one, enter it in `OPERATORS` if ONNX has it and onnxruntime computes it in float64 too, else in `COMPOSED`, and
in `FLOAT32_OPERATORS` where one operator does it in float32.
"""

import math
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import erfcx

from fastmlp.formulas.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from fastmlp.onnx.nodes import Nodes


def leaky_relu(nodes: Nodes, z: str) -> str:
    """Return z where z > 0, else 0.01 z."""
    return nodes.add("Max", z, nodes.add("Mul", 0.01, z))


def elu(nodes: Nodes, z: str, alpha: float = 1.0) -> str:
    """Return z where z > 0, else alpha (exp(z) - 1)."""
    negative = nodes.add("Sub", nodes.add("Exp", nodes.add("Min", z, 0.0)), 1.0)
    return nodes.add("Add", nodes.add("Relu", z), nodes.add("Mul", alpha, negative))


def selu(nodes: Nodes, z: str) -> str:
    """Return scale times `elu`."""
    return nodes.add("Mul", SELU_SCALE, elu(nodes, z, SELU_ALPHA))


def softplus(nodes: Nodes, z: str) -> str:
    """Return log(1 + exp(z)), without an exponential that overflows."""
    e = nodes.add("Exp", nodes.add("Neg", nodes.add("Abs", z)))
    return nodes.add("Add", nodes.add("Relu", z), nodes.add("Log", nodes.add("Add", 1.0, e)))


def softsign(nodes: Nodes, z: str) -> str:
    """Return z / (1 + |z|)."""
    return nodes.add("Div", z, nodes.add("Add", 1.0, nodes.add("Abs", z)))


def hard_tanh(nodes: Nodes, z: str) -> str:
    """Return z in [-1, 1], beyond it -1 or 1."""
    return nodes.add("Max", nodes.add("Min", z, 1.0), -1.0)


def arctan(nodes: Nodes, z: str) -> str:
    """Return the arctangent: 8 times that of an eighth of the angle, by Taylor's series."""
    s = nodes.add("Max", nodes.add("Min", z, 1e150), -1e150)  # whose square is finite
    for _ in range(3):  # tan(angle / 2) = s / (1 + sqrt(1 + s**2)); at last |s| <= 0.2
        root = nodes.add("Sqrt", nodes.add("Add", 1.0, nodes.add("Mul", s, s)))
        s = nodes.add("Div", s, nodes.add("Add", 1.0, root))
    series = polynomial(nodes, [(-1) ** k / (2 * k + 1) for k in range(12)], nodes.add("Mul", s, s))
    return nodes.add("Mul", 8.0, nodes.add("Mul", s, series))


def gelu_by_erf(nodes: Nodes, z: str) -> str:
    """Return z times the normal distribution function of z."""
    twice = nodes.add("Add", 1.0, nodes.add("Erf", nodes.add("Div", z, math.sqrt(2))))
    return nodes.add("Mul", 0.5, nodes.add("Mul", z, twice))


# exp(x**2) erfc(x) (1 + 2 x) for t = (x - 2) / (x + 2), x >= 0, which is smooth in t: Schonfelder (1978)
SCALED_TAIL = chebyshev.cheb2poly(
    chebyshev.chebinterpolate(lambda t: erfcx(2 * (1 + t) / (1 - t)) * (1 + 4 * (1 + t) / (1 - t)), 25)
)


def gelu(nodes: Nodes, z: str) -> str:
    """Return the same, for where there is no error function."""
    x = nodes.add("Mul", nodes.add("Abs", z), math.sqrt(0.5))
    t = nodes.add("Div", nodes.add("Sub", x, 2.0), nodes.add("Add", x, 2.0))
    density = nodes.add("Exp", nodes.add("Neg", nodes.add("Mul", x, x)))
    scaled = nodes.add("Mul", density, polynomial(nodes, SCALED_TAIL, t))
    tail = nodes.add("Div", scaled, nodes.add("Add", 2.0, nodes.add("Mul", 4.0, x)))
    probability = nodes.add("Where", nodes.add("Greater", z, 0.0), nodes.add("Sub", 1.0, tail), tail)
    return nodes.add("Mul", z, probability)


def silu(nodes: Nodes, z: str) -> str:
    """Return z times the logistic function of z."""
    return nodes.add("Mul", z, nodes.add("Sigmoid", z))


def mish(nodes: Nodes, z: str) -> str:
    """Return z tanh(softplus(z)) = z n / (n + 2), n = e (e + 2), e = exp(z); from z = 20 on the factor is 1."""
    e = nodes.add("Exp", nodes.add("Min", z, 20.0))
    n = nodes.add("Mul", e, nodes.add("Add", e, 2.0))
    return nodes.add("Mul", z, nodes.add("Div", n, nodes.add("Add", n, 2.0)))


def polynomial(nodes: Nodes, coefficients: Any, x: str) -> str:
    """Return the sum of coefficients[k] x**k."""
    *rest, value = coefficients
    for coefficient in reversed(rest):
        value = nodes.add("Add", nodes.add("Mul", value, x), float(coefficient))
    return value


OPERATORS = {
    "logistic": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "exp": ("Exp", {}),
}
FLOAT32_OPERATORS = {  # onnxruntime 1.32 has none of them in float64
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "arctan": ("Atan", {}),
}
COMPOSED = {
    "identity": lambda nodes, z: z,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "softplus": softplus,
    "softsign": softsign,
    "hard_tanh": hard_tanh,
    "arctan": arctan,
    "gelu": gelu,
    "silu": silu,
    "mish": mish,
}
FLOAT32_COMPOSED = {**COMPOSED, "gelu": gelu_by_erf}  # whose kernel onnxruntime has in float32 alone


def activate(nodes: Nodes, activation: Any, z: str, layer: int) -> str:
    """Return the activation of a layer, the first one being 1, for the preactivation z.

    Raises
    ------
    ValueError
        If it is a user's own function.
    """
    if not isinstance(activation, str):
        raise ValueError(
            f"activation={activation!r} of layer {layer} is a Python function, and ONNX has a fixed set of operators: "
            f"to export a network, train it with one of {sorted(ACTIVATIONS)}."
        )
    single = nodes.dtype == np.float32
    operators = {**OPERATORS, **FLOAT32_OPERATORS} if single else OPERATORS
    if activation in operators:
        operator, attributes = operators[activation]
        return nodes.add(operator, z, **attributes)
    return (FLOAT32_COMPOSED if single else COMPOSED)[activation](nodes, z)
