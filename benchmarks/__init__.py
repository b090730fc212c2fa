"""Benchmarks: side by side, medians of several runs, on servers and processes of their own."""
