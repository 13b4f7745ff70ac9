"""The README of an exported model: what it takes, what it gives, and how it was verified."""

from __future__ import annotations

from singleshot.spec import ModelSpec

RUN = {
    "openvino": "`singleshot.Detector.load(FOLDER)` runs it without torch. Other programs set "
    "`INFERENCE_PRECISION_HINT` to f32 for an fp32 model: OpenVINO otherwise computes in bf16 where the processor can.",
    "onnx": "`singleshot.Detector.load(FOLDER)` runs it without torch (`pip install onnxruntime`).",
    "torch": '`torch.export.load("model.pt2").module()(images)` runs it.',
    "aotinductor": '`torch._inductor.aoti_load_package("model.pt2")(images)` runs it, on processors like this one.',
}
ROWS_LINE = (
    "- `rows`, the first result (B, K, C + 4 + 8): a default box's C probabilities (class 0 is background), its 4 "
    "offsets, the box itself (xyxy as fractions of the image) and its 4 variances."
)


def export_card(
    spec: ModelSpec,
    engine: str,
    precision: str,
    against_source: str,
    *,
    outputs: str,
    largest_batch: int | None = None,
) -> str:
    """Markdown for people who meet the folder without us; `largest_batch` is None for a graph of any."""
    height, width = spec.input_size_hw
    softmax = spec.postprocess.scores == "softmax"
    mean, std = (
        ", ".join(f"{value:g}" for value in values) for values in (spec.preprocess.mean_rgb, spec.preprocess.std_rgb)
    )
    lines = [
        f"# {spec.name} for {engine}, {precision}",
        "",
        f"Detects: {', '.join(spec.class_names)}.",
        "",
        f"Against its source: {against_source}.",
        "",
        f"- Input `images`: uint8 ({largest_batch or 'B'}, {height}, {width}, 3) RGB, resized bilinearly without "
        "keeping proportions. "
        f"Inside the graph: mean {mean}, scale {std} and the order of channels.",
        *([ROWS_LINE] if outputs == "rows" else []),
        "- `offsets` (B, K, 4): encoded boxes; `probabilities` (B, K, C): "
        + ("class 0 is background." if softmax else "a sigmoid of each class; column 0 is not used."),
    ]
    if engine in {"openvino", "onnx"}:
        lines.append("- `default_boxes` (K, 4): xyxy as fractions of the image.")
        if outputs == "detections":
            settings = spec.postprocess
            lines.append(
                "- `detections` (D, 6): label from 0, score, xyxy as fractions of the image, best first, one image "
                "after another; `counts` (B): rows of each image. Scores above "
                f"{settings.score_threshold:g}, NMS at {settings.nms_threshold:g}, at most {settings.keep_top_k}."
            )
    lines += [
        f"- {RUN[engine]}",
        "- Classes, default boxes, preprocessing and thresholds stand in `config.json`"
        + (" and in the graph's own metadata (`singleshot`)." if engine in {"openvino", "onnx"} else "."),
        "",
    ]
    return "\n".join(lines)
