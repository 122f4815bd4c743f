"""The package as a library: what `import vision_lora` gives."""
