# What CI runs (check, test) and what the README's speed table comes from (bench). `make format` mends what it can.
MODEL ?= yolo11n.pt

.PHONY: check test bench format

check:
	ruff check
	ruff format --check
	mypy

test:
	pytest

bench:
	python -m vision_lora.benchmark --model $(MODEL) --json data/results/benchmark.json

format:
	ruff check --fix
	ruff format
