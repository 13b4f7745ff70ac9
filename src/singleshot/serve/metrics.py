"""What the server counts, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter as Counts
from dataclasses import asdict, fields

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from singleshot.serve.jobs import ImageResult, Timing
from singleshot.serve.open_inference import MODEL_PATHS
from singleshot.serve.problems import Problem
from singleshot.serve.service import DetectionService

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
PATHS = frozenset({"/v1/detect", "/v1/model", "/v2/health/live", "/v2/health/ready", "/metrics", "/", "/openapi.json"})
"""Paths that are counted by name, beside those of `infer`. The others are `other`: no client fills it with names."""


class Metrics:
    """The counters of one server, in a registry of its own.

    Attributes:
        requests: how many were answered, by path and status; status 499: the client went away.
    """

    def __init__(self, service: DetectionService) -> None:
        self._registry = CollectorRegistry()
        infer = frozenset(f"{path.format(model=service.model_name)}/infer" for path in MODEL_PATHS)
        self._detecting = infer | {"/v1/detect"}
        self._paths = PATHS | infer
        self.requests = Counter(
            "singleshot_requests", "Requests by path and status", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "singleshot_detect_seconds", "Duration of answered detections", buckets=SECONDS, registry=self._registry
        )
        self._images = Counter("singleshot_images", "Images by status", ["status"], registry=self._registry)
        stages = Histogram(
            "singleshot_image_seconds", "What an image waits for", ["stage"], buckets=SECONDS, registry=self._registry
        )
        self._stages = {stage.name: stages.labels(stage.name) for stage in fields(Timing)}
        waiting = Gauge("singleshot_images_waiting", "Images accepted and not answered", registry=self._registry)
        waiting.set_function(lambda: service.waiting)
        ready = Gauge("singleshot_ready", "Whether images are taken", registry=self._registry)
        ready.set_function(lambda: service.ready)
        started = Gauge("singleshot_decoders_started", "Decoder processes started", registry=self._registry)
        started.set_function(lambda: sum(decoder.started for decoder in service.decoders))
        engines = Gauge("singleshot_engines_started", "Engine processes started", registry=self._registry)
        engines.set_function(lambda: service.engines_started)

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(path if path in self._paths else "other", str(status)).inc()
        if path in self._detecting and status == 200:
            self._seconds.observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """All figures, and their media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def summary(self) -> str:
        """What was served, in a line."""
        count = Counts[int]()
        for metric in self.requests.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total") and sample.labels["path"] in self._detecting:
                    count[int(sample.labels["status"])] += int(sample.value)
        others = count.total() - count[200] - count[503]
        return (
            f"served {count.total():,} requests to detect: {count[200]:,} answered, {count[503]:,} refused for lack of "
            f"room, {others:,} wrong or given up"
        )

    def count_image(self, result: ImageResult | Problem) -> None:
        """Count an image, and where its time went."""
        self._images.labels("200" if isinstance(result, ImageResult) else str(result.status)).inc()
        if isinstance(result, ImageResult):
            for stage, seconds in asdict(result.timing).items():
                self._stages[stage].observe(seconds)
