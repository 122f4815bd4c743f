"""The numbers of all sources in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vision_lora.streaming.service import Service
from vision_lora.streaming.sources.stats import BUCKETS, Reading


def exposition(service: Service) -> bytes:
    """What `/metrics` answers."""
    registry = CollectorRegistry()
    registry.register(_Collector(service))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        readings = self._service.readings()
        yield _gauge("up", "1 where the source gives pictures", readings, lambda read: read.state == "live")
        yield _gauge("frozen", "1 where its picture stands still", readings, lambda read: read.state == "frozen")
        yield _gauge("fps", "Pictures detected a second", readings, lambda read: read.fps)
        yield _counter("received", "Pictures that came", readings, lambda read: {"": read.received})
        yield _counter("detected", "Pictures with a result", readings, lambda read: {"": read.detected})
        yield _counter("dropped", "Pictures thrown away", readings, lambda read: read.dropped, "cause")
        yield _counter("connections", "Connections that gave a picture", readings, lambda read: {"": read.connects})
        yield _counter("losses", "Lost connections and vain tries", readings, lambda read: read.losses, "cause")
        yield _counter("alarms", "Defects reported", readings, lambda read: read.alarms, "class")
        latency = HistogramMetricFamily("vision_lora_latency_seconds", "From capture to result", labels=["source"])
        for name, read in readings.items():
            bounds = [*map(str, BUCKETS), "+Inf"]
            latency.add_metric([name], list(zip(bounds, read.buckets, strict=True)), read.latency_sum)
        yield latency
        failing = GaugeMetricFamily("vision_lora_failing", "1 where no result comes any more, or no event is written")
        failing.add_metric([], float(self._service.health() == "failing"))
        yield failing


def _gauge(name: str, about: str, readings: Mapping[str, Reading], value: Callable[[Reading], float]) -> Metric:
    family = GaugeMetricFamily(f"vision_lora_{name}", about, labels=["source"])
    for source, read in readings.items():
        family.add_metric([source], float(value(read)))
    return family


def _counter(
    name: str, about: str, readings: Mapping[str, Reading], value: Callable[[Reading], Mapping[str, int]], by: str = ""
) -> Metric:
    """A counter for each source, and within it for each key of what `value` gives where `by` names the keys."""
    family = CounterMetricFamily(f"vision_lora_{name}", about, labels=["source", by] if by else ["source"])
    for source, read in readings.items():
        for key, count in value(read).items():
            family.add_metric([source, key] if by else [source], count)
    return family
