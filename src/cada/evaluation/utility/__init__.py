"""Utility benchmarks through lm-evaluation-harness: what did alignment cost?"""
