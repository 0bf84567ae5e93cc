"""The same evaluation as inspect_ai tasks, for those who evaluate with it.

`registry` is what inspect_ai loads (the entry point `cada` of the group `inspect_ai`).
"""
