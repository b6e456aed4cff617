"""A detector that is cheap and right: it finds red, green and blue squares in a picture of 64 pixels a side."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

SIDE, CELL = 64, 16
CELLS = SIDE // CELL
COLOURS = ("red", "green", "blue")


def detector_model() -> onnx.ModelProto:
    """Return a model with YOLO's head: images [n, 3, 64, 64] -> output0 [n, 4 + 3, 16], an anchor for each cell.

    A class's score is its channel's mean in the cell, less that of the two others.
    """
    centres = np.arange(CELLS) * CELL + CELL / 2
    x, y = np.meshgrid(centres, centres)
    size = np.full(CELLS**2, float(CELL))
    boxes = np.stack([x.ravel(), y.ravel(), size, size])[None].astype(np.float32)
    mix = (2 * np.eye(3) - np.ones((3, 3))).astype(np.float32).reshape(3, 3, 1, 1)
    constants = {"boxes": boxes, "mix": mix, "flat": np.array([0, 3, CELLS**2], np.int64), "none": np.float32(0)}
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Conv", ["cells", "mix"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["scored"]),
        helper.make_node("Reshape", ["scored", "flat"], ["scores"]),
        helper.make_node("ReduceMean", ["scores"], ["one"], axes=[1, 2], keepdims=1),
        helper.make_node("Mul", ["one", "none"], ["zero"]),
        helper.make_node("Add", ["zero", "boxes"], ["placed"]),  # a copy of the boxes for each picture
        helper.make_node("Concat", ["placed", "scores"], ["output0"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", 7, CELLS**2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def draw_squares(width: int, height: int, *squares: tuple[str, tuple[float, float, float, float]]) -> Image.Image:
    """Return a white picture with squares, each given by colour, left, top, right and bottom."""
    picture = Image.new("RGB", (width, height), "white")
    pencil = ImageDraw.Draw(picture)
    for colour, box in squares:
        pencil.rectangle(box, fill={"green": "#00ff00"}.get(colour, colour))
    return picture
