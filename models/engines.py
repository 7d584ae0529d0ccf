"""What can run a network, by name. Imports neither torch nor ONNX Runtime: `engine.py` does."""

from importlib.metadata import PackageNotFoundError, version

from models.zoo import ModelError

ENGINES = TORCH, ONNX, ONNX_INT8 = ("torch", "onnx", "onnx-int8")
"""The last two are ONNX Runtime in float32 and, quantised, in int8."""
ORT_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # the optional part `ort`


def require(engine: str) -> None:
    """Raises ModelError where an engine needs packages that are not installed."""
    if engine == TORCH:
        return
    try:
        for package in ORT_PACKAGES:
            version(package)
    except PackageNotFoundError as error:
        raise ModelError(
            f"the engine '{engine}' needs {error.name}, which is not installed: "
            "run `pip install -e '.[ort]'` in the checkout"
        ) from error
