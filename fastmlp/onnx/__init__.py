"""Export to ONNX, by skl2onnx: the converters of our estimators.

`import fastmlp.onnx` registers them, and `skl2onnx.to_onnx` then takes our estimators, and pipelines, searches and
ensembles that contain them. `fastmlp.to_onnx` is the shorter way, which also knows which of them are transformers.

Options of skl2onnx for a classifier: "zipmap" (True: a list of dictionaries, False: an array, "columns": an output for
each class), "output_class_labels", and "nocl" (numbers of the classes in place of labels). Outputs have the names that
skl2onnx gives those of `sklearn.neural_network.MLPClassifier`. A network, where it is to give what `transform` does,
needs the option "transform": skl2onnx does not tell a converter that the estimator is in the middle of a pipeline. So
with `skl2onnx.to_onnx`, and not with `fastmlp.to_onnx`, pass ``options={id(step): {"transform": True}}``.
"""

from fastmlp.extras import missing_extra

try:
    import onnx  # noqa: F401 -- whether it is installed
    import skl2onnx  # noqa: F401
except ImportError as error:
    raise ImportError(missing_extra("onnx", "fastmlp.onnx", error)) from error

from fastmlp.onnx.conversion import convert
from fastmlp.onnx.registration import register_all

__all__ = ["convert"]

register_all()
