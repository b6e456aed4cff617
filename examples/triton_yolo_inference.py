"""Finds objects in a picture by a YOLO model on Triton, and draws them in.

    python examples/triton_yolo_inference.py --triton-url localhost:8000 --model-name onnx-model --image-path dog.jpg

Needs numpy, pillow and tritonclient[grpc] alone. Ends with 0 where the model answered, whatever it found; with 1 where
the server, the model or the picture could not be used.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from blocks.errors import SlipwayError
from infra.prediction.endpoint import DEFAULT_URL, connect
from infra.prediction.pictures import Fit
from infra.prediction.predictor import Predictor, Reading, Task

# the classes of COCO, on which YOLO's published weights are trained, in their order
COCO = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
]


def main() -> int:
    """Ask the model, print what it found, write the picture, and return the code to end with."""
    given = _parse_arguments()
    names = given.class_names.read_text().split("\n") if given.class_names else COCO
    reading = Reading(
        task=Task.DETECT,
        output=given.output_name,
        score=given.conf_threshold,
        overlap=given.iou_threshold,
        fit=Fit.STRETCH if given.stretch else Fit.LETTERBOX,
        size=(given.size, given.size) if given.size else None,
        names=names,
    )
    try:
        endpoint = connect(given.triton_url)
        prediction = Predictor(endpoint, endpoint.describe(given.model_name), reading).predict(given.image_path)
    except SlipwayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    for found in prediction.found:
        print(f"{found['score']:.2f}  {found['name']}  {found['box']}")  # noqa: T201
    place = given.output_image or Path(f"{given.image_path.stem}_detection.jpg")
    assert prediction.drawn is not None
    prediction.drawn.save(place, quality=92)
    print(f"{len(prediction.found)} objects, drawn in {place}")  # noqa: T201
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triton-url", default=DEFAULT_URL, help="host:port of its HTTP port, or grpc://host:port")
    parser.add_argument("--model-name", default="onnx-model", help="its name in Triton")
    parser.add_argument("--image-path", required=True, type=Path)
    parser.add_argument("--output-name", default=None, help="the output to read; by default the first")
    parser.add_argument("--output-image", default=None, type=Path, help="by default <image>_detection.jpg")
    parser.add_argument("--conf-threshold", default=0.5, type=float, help="least score of an object")
    parser.add_argument("--iou-threshold", default=0.5, type=float, help="boxes that share more are one object")
    parser.add_argument("--class-names", default=None, type=Path, help="one a line; by default those of COCO")
    parser.add_argument("--size", default=None, type=int, help="pixels a side, where the model takes any")
    parser.add_argument("--stretch", action="store_true", help="scale out of proportion, without letterboxing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
