"""The machine beneath: files and folders, processes and signals, cores and devices."""
