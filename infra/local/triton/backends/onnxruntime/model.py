"""thin"""

import os

import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(c):
        print("AUTO", c.as_dict(), pb_utils.get_model_dir(), flush=True)
        return c

    def initialize(self, args):
        print("INIT", args, pb_utils.get_model_dir(), os.listdir(args["model_repository"]), flush=True)
        self.s = ort.InferenceSession(os.path.join(pb_utils.get_model_dir(), "model.onnx"))

    def execute(self, requests):
        out = []
        for r in requests:
            try:
                feed = {t.name(): t.as_numpy() for t in r.inputs()}
                names = [o.name for o in self.s.get_outputs()]
                res = self.s.run(names, feed)
                out.append(pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in zip(names, res)]))
            except Exception as e:
                out.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(e))))
        return out
