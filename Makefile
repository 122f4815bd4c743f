# What CI runs (check, test) and what the speed tables in docs come from (bench). `make format` mends what it can.
MODEL ?= yolo11n.pt
GRID ?= neu-det-grouped

.PHONY: check test docs bench bench-families bench-gpu bench-busy bench-camera format notebooks starter compare compare-keep compare-tables

check:
	ruff check
	ruff format --check
	mypy

test:
	pytest

bench:
	python -m vision_lora.benchmark --model $(MODEL) --json data/results/benchmark.json

# The same for one model of each family with random weights where there are no others: FAMILIES, at 320 px for the large.
FAMILIES ?= yolov8n.yaml yolov9t.yaml yolov10n.yaml yolo11n.yaml yolo12n.yaml yolo26n.yaml
LARGE ?= rtdetr-l.yaml
bench-families:
	mkdir -p data/results/families
	for model in $(FAMILIES); do \
	  python -m vision_lora.benchmark --model $$model --json data/results/families/$$(basename $$model .yaml).json || exit 1; done
	for model in $(LARGE); do \
	  python -m vision_lora.benchmark --model $$model --sizes 320x2 --repeats 5 \
	    --json data/results/families/$$(basename $$model .yaml).json || exit 1; done

# On a GPU, minutes: full fine-tuning, adapters and PEFT, as a plain loop and as a CUDA graph. Then whole trainings beside
# Ultralytics' trainer: `make compare GRID=neu-det-ultralytics`.
bench-gpu:
	mkdir -p data/results/gpu
	python -m vision_lora.benchmark --device cuda --model yolo11n.yaml --sizes 320x16,640x16,640x64 --repeats 15 \
	  --json data/results/gpu/yolo11n.json
	python -m vision_lora.benchmark --device cuda --model yolo11m.yaml --sizes 640x16 --repeats 15 \
	  --json data/results/gpu/yolo11m.json
# What is left of a training's rate beside other work: on a machine that is quiet otherwise.
bench-busy:
	python -m vision_lora.benchmarks.busy --model $(MODEL)

# What the camera costs beside its detector, and whether half an hour at full load changes it: on a quiet machine.
bench-camera:
	mkdir -p data/results/camera
	python -m vision_lora.benchmarks.camera --model $(MODEL) --imgsz 320 --json data/results/camera/bench.json
	python -m vision_lora.benchmarks.camera --model $(MODEL) --json data/results/camera/bench_640.json
	python -m vision_lora.benchmarks.soak --model $(MODEL) --imgsz 320 --minutes 30 --json data/results/camera/soak.json

# The notebooks with new outputs, as they are in git. What a command prints comes in pieces of 100 letters, which GitHub
# shows as paragraphs, so they are joined; when each cell ran is nobody's business.
notebooks:
	jupyter nbconvert --to notebook --inplace --execute --ExecutePreprocessor.record_timing=False notebooks/*.ipynb
	jupyter nbconvert --to notebook --inplace --coalesce-streams notebooks/*.ipynb

# The base that ships with the package, from random weights, in one go; minutes on a large GPU, hours on a CPU.
# The file that ships was trained in parts: data/results/starter/README.md.
starter:
	python -m vision_lora.train --config configs/starter.yaml --exist-ok
	python -m vision_lora.zoo.pack runs/starter/best.pt

format:
	ruff check --fix
	ruff format

# GRID names a file of configs/compare; a comparison that was stopped goes on. Then keep its result, and renew the docs.
compare:
	python -m vision_lora.compare --config configs/compare/$(GRID).yaml

compare-keep:
	mkdir -p data/results/compare
	cp runs/compare/$(GRID)/compare.json data/results/compare/$(GRID).json
	for plot in $(wildcard runs/compare/$(GRID)/frontier.png); do cp $$plot data/results/compare/$(GRID).png; done

compare-tables:
	python -m vision_lora.comparison.report.tables_into data/results/compare/*.json --into docs/comparing.md docs/old-classes.md

# The pages of docs/ as a site in build/docs; a link that leads nowhere is an error.
docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --config-file configs/docs/mkdocs.yml
